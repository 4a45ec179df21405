//! Writes the golden vector of a model: `cargo run --release -p lookalike-vision --example golden
//! [MODEL] > golden.json`. The file belongs next to the model's weights.
//!
//! Run it after every change of the weights (a test checks the bundled model). It runs on burn's CPU
//! backend, with which all other executors are compared.

use lookalike_vision::{BUNDLED_MODEL, CpuKernels, Engine, GoldenFile, Model, Settings};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = std::env::args().nth(1);
    let mut model = Model::load(model.as_deref().unwrap_or(BUNDLED_MODEL))?;
    // The existing file may be the one to replace.
    model.forget_golden();
    let settings = Settings {
        device: "cpu".to_owned(),
        kernels: CpuKernels::Flex,
        ..Settings::default()
    };
    let engine = Engine::start(&model, &settings)?;
    let golden = GoldenFile::new(&model.description().checksum, engine.golden());
    println!("{}", serde_json::to_string(&golden)?);
    Ok(())
}

//! Writes the golden vector of a model: `cargo run --release -p lookalike-vision --example golden
//! [MODEL] > golden.json`, to lie beside its weights.
//!
//! To be done anew whenever weights change (a test says so for the bundled model). On the CPU,
//! whose results all other devices are compared with.

use lookalike_vision::{DEFAULT_MODEL, Engine, GoldenFile, Model, Settings};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = std::env::args().nth(1);
    let mut model = Model::load(model.as_deref().unwrap_or(DEFAULT_MODEL))?;
    // What is there may be what is to be replaced.
    model.forget_golden();
    let settings = Settings {
        device: "cpu".to_owned(),
        ..Settings::default()
    };
    let engine = Engine::start(&model, &settings)?;
    let golden = GoldenFile::new(&model.description().checksum, engine.golden());
    println!("{}", serde_json::to_string(&golden)?);
    Ok(())
}

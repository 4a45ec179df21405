//! Measures how fast this machine embeds and decodes: `cargo run --release -p lookalike-vision --example
//! rate [--device DEVICE] [--kernels NAMES] [--batch NUMBERS] [MODEL] [PHOTO…]`.
//!
//! Prints images per second by kernels (`vision.kernels`, a list such as `auto,avx2,flex`) and batch size
//! (a list such as `1,8`) for the model (a name or folder), texts per second if it embeds texts, and
//! milliseconds per photo for decoding with preprocessing, reduced and at full size. The rate does not
//! depend on the weights: `reference/seeded.py NAME FOLDER` creates a folder of any supported network
//! with random weights. `RAYON_NUM_THREADS` sets the number of threads.

use std::time::{Duration, Instant};

use lookalike_vision::{
    BUNDLED_MODEL, CpuKernels, Description, Engine, Limits, Model, Settings, decode_image,
    preprocess_image,
};

type AnyError = Box<dyn std::error::Error>;

const MIN_RUN_TIME: Duration = Duration::from_secs(3);

struct RateArguments {
    device: String,
    kernels: Vec<CpuKernels>,
    batches: Vec<usize>,
    model: String,
    photos: Vec<String>,
}

impl RateArguments {
    fn parse() -> Result<Self, AnyError> {
        let mut parsed = Self {
            device: "auto".to_owned(),
            kernels: vec![CpuKernels::Auto],
            batches: vec![1, 8, 16, 32],
            model: BUNDLED_MODEL.to_owned(),
            photos: Vec::new(),
        };
        let mut arguments = std::env::args().skip(1).peekable();
        while let Some(flag) = arguments.next_if(|argument| argument.starts_with("--")) {
            let value = arguments
                .next()
                .ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--device" => parsed.device = value,
                "--kernels" => {
                    parsed.kernels = value
                        .split(',')
                        .map(|name| serde_json::from_value(name.into()))
                        .collect::<Result<_, _>>()?;
                }
                "--batch" => {
                    parsed.batches = value.split(',').map(str::parse).collect::<Result<_, _>>()?;
                }
                _ => return Err(format!("there is no {flag}: see the file's first lines").into()),
            }
        }
        if let Some(model) = arguments.next() {
            parsed.model = model;
        }
        parsed.photos.extend(arguments);
        Ok(parsed)
    }
}

/// Returns the CPU seconds of all threads of this process, to compare rates on a machine with other
/// work. NaN if the system does not report them.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // User and system time in hundredths of a second, after the name in brackets.
    let ticks = stat.rsplit(')').next().map(|rest| {
        let fields = rest.split_whitespace().skip(11).take(2);
        fields
            .map(|field| field.parse().unwrap_or(f64::NAN))
            .sum::<f64>()
    });
    ticks.unwrap_or(f64::NAN) / 100.0
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), AnyError> {
    let arguments = RateArguments::parse()?;
    let model = Model::load(&arguments.model)?;
    for kernels in &arguments.kernels {
        for (i, batch) in arguments.batches.iter().enumerate() {
            let settings = Settings {
                device: arguments.device.clone(),
                kernels: *kernels,
                batch_images: *batch,
                ..Settings::default()
            };
            let engine = Engine::start(&model, &settings)?;
            if i == 0 {
                println!("{}", engine.describe_device());
            }
            measure_images(&engine, *batch).await?;
            if i == 0 && model.description().has_text() {
                measure_texts(&engine).await?;
            }
        }
    }
    for photo in &arguments.photos {
        measure_decoding(photo, model.description())?;
    }
    Ok(())
}

async fn measure_images(engine: &Engine, batch: usize) -> Result<(), AnyError> {
    let input = (0..engine.description().input_bytes())
        .map(|i| (i * 31 % 251) as u8)
        .collect();
    let inputs: Vec<_> = vec![input; batch];
    let (start, mut images, mut best) = (Instant::now(), 0, Duration::MAX);
    let cpu_start = cpu_seconds();
    while start.elapsed() < MIN_RUN_TIME || images == 0 {
        let run = Instant::now();
        engine.embed_images(inputs.clone()).await?;
        best = best.min(run.elapsed());
        images += batch;
    }
    println!(
        "batch {batch}: {:.1} images/s, best {:.1}, {:.1} per CPU second",
        images as f64 / start.elapsed().as_secs_f64(),
        batch as f64 / best.as_secs_f64(),
        images as f64 / (cpu_seconds() - cpu_start)
    );
    Ok(())
}

async fn measure_texts(engine: &Engine) -> Result<(), AnyError> {
    let (start, mut texts) = (Instant::now(), 0);
    while start.elapsed() < MIN_RUN_TIME {
        let text = format!("a photo of {texts} cats and dogs in the garden");
        engine.embed_text(vec![text]).await?;
        texts += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("texts, one at a time: {:.1}/s", f64::from(texts) / seconds);
    Ok(())
}

fn measure_decoding(photo: &str, description: &Description) -> Result<(), AnyError> {
    let limits = Limits::default();
    let bytes = std::fs::read(photo)?;
    for (mode, min_short_side) in [
        ("reduced", description.min_short_side()),
        ("full size", u32::MAX),
    ] {
        let mut best = Duration::MAX;
        let mut size = (0, 0);
        for _ in 0..5 {
            let run = Instant::now();
            let (picture, attributes) = decode_image(&bytes, min_short_side, &limits)?;
            preprocess_image(description, &picture);
            best = best.min(run.elapsed());
            size = (attributes.width, attributes.height);
        }
        println!(
            "{photo} ({} x {}), {mode}: {:.1} ms",
            size.0,
            size.1,
            best.as_secs_f64() * 1e3
        );
    }
    Ok(())
}

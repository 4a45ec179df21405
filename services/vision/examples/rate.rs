//! Measures how fast this machine embeds and decodes: `cargo run --release -p lookalike-vision --example
//! rate [MODEL] [PHOTO…]`.
//!
//! Prints images per second by batch size for the model (a name or folder), texts per second if it embeds
//! texts, and milliseconds per photo for decoding with preprocessing, reduced and at full size. The
//! rate does not depend on the weights: `reference/seeded.py NAME FOLDER` creates a folder of any
//! supported network with random weights.

use std::time::{Duration, Instant};

use lookalike_vision::{
    BUNDLED_MODEL, Engine, Limits, Model, Settings, decode_image, preprocess_image,
};

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

const MIN_RUN_TIME: Duration = Duration::from_secs(3);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = Model::load(arguments.next().as_deref().unwrap_or(BUNDLED_MODEL))?;
    let description = model.description().clone();
    for batch in [1, 8, 16, 32] {
        let settings = Settings {
            batch_images: batch,
            ..Settings::default()
        };
        let engine = Engine::start(&model, &settings)?;
        if batch == 1 {
            println!("{}", engine.describe_device());
        }
        let input = (0..description.input_bytes())
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
        if batch == 1 && description.has_text() {
            let (start, mut texts) = (Instant::now(), 0);
            while start.elapsed() < MIN_RUN_TIME {
                let text = format!("a photo of {texts} cats and dogs in the garden");
                engine.embed_text(vec![text]).await?;
                texts += 1;
            }
            let seconds = start.elapsed().as_secs_f64();
            println!("texts, one at a time: {:.1}/s", f64::from(texts) / seconds);
        }
    }
    let limits = Limits::default();
    for photo in arguments {
        let bytes = std::fs::read(&photo)?;
        for (mode, min_short_side) in [
            ("reduced", description.min_short_side()),
            ("full size", u32::MAX),
        ] {
            let mut best = Duration::MAX;
            let mut size = (0, 0);
            for _ in 0..5 {
                let run = Instant::now();
                let (picture, attributes) = decode_image(&bytes, min_short_side, &limits)?;
                preprocess_image(&description, &picture);
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
    }
    Ok(())
}

//! The parts of lookalike that are measured alone: the decoder and the network.
//!
//! This is the only place of the load test that links lookalike's vision. The rest sees lookalike as its
//! users do; but a request to the service measures the network together with decoding, transport and
//! index.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lookalike_vision::{
    Description, Engine, Input, Limits, Model, Settings, decode_image, preprocess_image, registry,
};

use super::photos::PhotoFile;

/// Number of photos that are prepared as inputs of a network.
pub const INPUTS: usize = 64;

/// A network of lookalike on one device.
#[derive(Debug)]
pub struct ProductNetwork {
    engine: Engine,
    inputs: Vec<Input>,
    batch: usize,
}

/// Parses an argument that names a device of this machine. `auto` without a GPU is `cpu`.
pub fn parse_device(argument: &str) -> Result<String, String> {
    let settings = Settings {
        device: argument.to_owned(),
        ..Settings::default()
    };
    let (names, _) = Engine::describe_devices(&settings).map_err(|error| error.to_string())?;
    let is_cpu = names.iter().all(|name| name == "cpu");
    Ok(if is_cpu { "cpu" } else { argument }.to_owned())
}

/// Parses an argument that names a model of lookalike.
pub fn parse_model_name(argument: &str) -> Result<String, String> {
    match registry::find_model(argument) {
        Some(model) => Ok(model.name.to_owned()),
        None => Err(format!("lookalike has {}", registry::join_names())),
    }
}

/// Loads a model by name or folder and prepares photos as its inputs.
pub fn prepare_inputs(model: &str, photos: &[PhotoFile]) -> anyhow::Result<Vec<Input>> {
    let description = load_description(model)?;
    let limits = Limits::default();
    let mut inputs = Vec::new();
    for photo in photos {
        // Some files may be damaged.
        if let Ok(input) = decode_photo(photo, &description, &limits) {
            inputs.push(input);
        }
        if inputs.len() == INPUTS {
            break;
        }
    }
    anyhow::ensure!(!inputs.is_empty(), "no photo can be decoded");
    Ok(inputs)
}

fn load_description(model: &str) -> anyhow::Result<Description> {
    Model::load_description(model).with_context(|| format!("cannot load {model}"))
}

fn decode_photo(
    photo: &PhotoFile,
    description: &Description,
    limits: &Limits,
) -> anyhow::Result<Input> {
    let bytes = photo.read_bytes()?;
    let (image, _) = decode_image(&bytes, description.min_short_side(), limits)?;
    Ok(preprocess_image(description, &image))
}

impl ProductNetwork {
    /// Starts the network on one device, without the CPU as a replacement. `batch` is the number of images in one run,
    /// or less if the memory of the device demands it; 1 measures queries. A GPU's run contains one known picture more
    /// than this side counts.
    pub fn start(
        model: &str,
        device: &str,
        batch: usize,
        inputs: Vec<Input>,
    ) -> anyhow::Result<Self> {
        let loaded = Model::load(model).with_context(|| format!("cannot load {model}"))?;
        let settings = Settings {
            device: device.to_owned(),
            batch_images: batch,
            cpu_fallback: false,
            ..Settings::default()
        };
        let engine = Engine::start(&loaded, &settings)
            .with_context(|| format!("cannot start {model} on {device}"))?;
        Ok(Self {
            engine,
            inputs,
            batch,
        })
    }

    pub fn describe(&self) -> String {
        self.engine.describe_device()
    }

    /// Runs whole batches for about the given time and returns the images per second.
    pub async fn measure_rate(&self, time: Duration) -> anyhow::Result<f64> {
        let take_batch = |first: usize| -> Vec<Input> {
            // One call with more images would be more than one run.
            let count = self.batch.min(self.engine.batch_images());
            let inputs = self.inputs.iter().cycle();
            let batch = inputs.skip(first % self.inputs.len()).take(count);
            batch.cloned().collect()
        };
        self.embed_batch(take_batch(0)).await?;
        let (started, mut images) = (Instant::now(), 0);
        while images == 0 || started.elapsed() < time {
            let batch = take_batch(images);
            images += batch.len();
            self.embed_batch(batch).await?;
        }
        Ok(images as f64 / started.elapsed().as_secs_f64())
    }

    async fn embed_batch(&self, batch: Vec<Input>) -> anyhow::Result<()> {
        match batch.len() {
            1 => self.engine.embed_query(batch).await?,
            _ => self.engine.embed_images(batch).await?,
        };
        Ok(())
    }
}

/// Reads, decodes and resizes photos for a model, on `threads` threads, for about the given time.
/// Returns the images per second.
pub fn measure_decoding(
    model: &str,
    photos: &[PhotoFile],
    threads: usize,
    time: Duration,
) -> anyhow::Result<f64> {
    let description = load_description(model)?;
    let limits = Limits::default();
    let (next, failed, done) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let is_over = AtomicBool::new(false);
    let started = Instant::now();
    let decode_next = || {
        while !is_over.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let photo = &photos[number % photos.len()];
            match decode_photo(photo, &description, &limits) {
                Ok(_) => done.fetch_add(1, Ordering::Relaxed),
                Err(_) => failed.fetch_add(1, Ordering::Relaxed),
            };
            if started.elapsed() >= time {
                is_over.store(true, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(decode_next);
        }
    });
    let done = done.into_inner();
    anyhow::ensure!(
        done > 0,
        "none of {} photos can be decoded",
        failed.into_inner()
    );
    Ok(done as f64 / started.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::photos::list_photos;
    use std::path::Path;

    #[tokio::test]
    async fn the_bundled_model_has_rates() {
        let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images");
        let photos = list_photos(&images).unwrap();
        let model = "lookalike-mini";
        let time = Duration::from_millis(50);
        assert!(measure_decoding(model, &photos[..8], 2, time).unwrap() > 0.0);
        let inputs = prepare_inputs(model, &photos[..8]).unwrap();
        assert_eq!(inputs.len(), 8);
        for batch in [1, 3] {
            let network = ProductNetwork::start(model, "cpu", batch, inputs.clone()).unwrap();
            assert!(network.measure_rate(time).await.unwrap() > 0.0);
            assert!(network.describe().contains(model));
        }
        let error = prepare_inputs("no-such-model", &photos).unwrap_err();
        assert!(format!("{error:#}").contains("no-such-model"));
    }
}

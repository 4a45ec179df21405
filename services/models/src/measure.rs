//! Measures and stores how many images per second a model processes on this machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lookalike_chassis::durable::replace_file;
use lookalike_chassis::stdio;
use lookalike_vision::{Engine, Input, Model};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::store::{ModelStore, now_millis};

/// The first batch, which allocates memory, is not counted.
const MIN_MEASURING_TIME: Duration = Duration::from_secs(3);

/// Stored measurements, by host and checksum of the weights. Several machines may share a cache
/// folder, and each has its own rates.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MeasuredRates {
    rates: BTreeMap<String, MeasuredRate>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasuredRate {
    /// Of the network alone, in batches of `vision.batch_images`.
    pub images_per_second: f64,
    pub device: String,
    /// Milliseconds since 1970.
    pub measured_at_ms: i64,
}

fn rates_path(models_folder: &Path) -> PathBuf {
    models_folder.join("measured.json")
}

fn rate_key(checksum: &str) -> String {
    format!("{} {checksum}", host_name())
}

fn host_name() -> String {
    let mut name = [0_u8; 256];
    // SAFETY: the buffer is valid for its length, and its last byte stays 0 because the call may
    // write one byte less.
    let result = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(0);
    if result == 0 {
        String::from_utf8_lossy(&name[..end]).into_owned()
    } else {
        String::new()
    }
}

impl MeasuredRates {
    /// Reads the stored measurements; empty if there are none or they are unreadable.
    pub fn read_stored(store: &ModelStore) -> Self {
        std::fs::read(rates_path(store.folder()))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// The measurement of this machine for these weights.
    pub fn rate_for(&self, checksum: &str) -> Option<&MeasuredRate> {
        self.rates.get(&rate_key(checksum))
    }

    /// Adds and stores a measurement. A failed write only costs another measurement later.
    pub fn record_rate(&mut self, store: &ModelStore, checksum: &str, rate: MeasuredRate) {
        self.rates.insert(rate_key(checksum), rate);
        let text = serde_json::to_vec_pretty(self).expect("rates have string keys only");
        let folder = store.folder();
        let path = rates_path(folder);
        let written = std::fs::create_dir_all(folder).and_then(|()| replace_file(&path, &text));
        if let Err(error) = written {
            stdio::eprint_line(&format!("cannot write {}: {error}", path.display()));
        }
    }
}

/// Measures the model `name`, loaded from `load_path`, for a few seconds.
pub async fn measure_model(
    name: &str,
    load_path: &str,
    vision: &lookalike_vision::Settings,
) -> Result<MeasuredRate, Error> {
    let measured = measure_engine(load_path, vision).await;
    measured.map_err(|source| Error::Measure {
        name: name.to_owned(),
        source,
    })
}

async fn measure_engine(
    load_path: &str,
    vision: &lookalike_vision::Settings,
) -> Result<MeasuredRate, lookalike_vision::Error> {
    let mut vision = vision.clone();
    vision.model = load_path.to_owned();
    let starting = tokio::task::spawn_blocking(move || {
        let model = Model::load(&vision.model)?;
        Engine::start(&model, &vision)
    });
    let engine = match starting.await {
        Ok(engine) => engine?,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    let batch_images = engine.batch_images();
    let input: Input = (0..engine.description().input_bytes())
        .map(|i| (i * 31 % 251) as u8)
        .collect();
    let batch = vec![input; batch_images];
    engine.embed_images(batch.clone()).await?;
    let (started_at, mut images) = (Instant::now(), 0_usize);
    while started_at.elapsed() < MIN_MEASURING_TIME || images == 0 {
        engine.embed_images(batch.clone()).await?;
        images += batch_images;
    }
    Ok(MeasuredRate {
        images_per_second: images as f64 / started_at.elapsed().as_secs_f64(),
        device: engine.describe_device(),
        measured_at_ms: now_millis(),
    })
}

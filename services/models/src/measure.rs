//! How many images a second a model takes on this machine, measured and remembered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lookalike_vision::{Engine, Model};
use serde::{Deserialize, Serialize};

use crate::settings::Settings;

/// How long a model is measured, after the first batch.
const MIN_MEASURING_TIME: Duration = Duration::from_secs(3);

/// What was measured, by machine, device and weights.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MeasuredRates {
    rates: BTreeMap<String, MeasuredRate>,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasuredRate {
    /// Images a second, network only, in batches as they are set.
    pub images_per_second: f64,
    /// The device, in words.
    pub device: String,
    /// When, in milliseconds since 1970.
    pub measured_at_ms: i64,
}

fn rates_path(models: &Path) -> PathBuf {
    models.join("measured.json")
}

/// Of several machines that share a cache folder, each has its own numbers.
fn rate_key(checksum: &str) -> String {
    format!("{} {checksum}", host_name())
}

fn host_name() -> String {
    let mut name = [0_u8; 256];
    // SAFETY: the buffer is ours, and its last byte is left 0 whatever the system writes.
    let result = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(0);
    if result == 0 {
        String::from_utf8_lossy(&name[..end]).into_owned()
    } else {
        String::new()
    }
}

impl MeasuredRates {
    /// What was measured earlier; nothing where that can't be read.
    pub fn read_cached(models: &Path) -> Self {
        std::fs::read(rates_path(models))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// What was measured on this machine with these weights.
    pub fn rate_for(&self, checksum: &str) -> Option<&MeasuredRate> {
        self.rates.get(&rate_key(checksum))
    }

    /// Remembers a measurement. What can't be written is only measured again.
    pub fn record_rate(&mut self, models: &Path, checksum: &str, rate: MeasuredRate) {
        self.rates.insert(rate_key(checksum), rate);
        let text = serde_json::to_vec_pretty(self).expect("rates are plain data");
        let path = rates_path(models);
        let temporary = models.join(format!("measured.new-{}", std::process::id()));
        let written = std::fs::create_dir_all(models)
            .and_then(|()| std::fs::write(&temporary, text))
            .and_then(|()| std::fs::rename(&temporary, &path));
        if let Err(error) = written {
            eprintln!("{} can't be written: {error}", path.display());
        }
    }
}

/// Measures one model, by its name or folder.
///
/// # Errors
/// When it can't be loaded or does not run, in words.
pub async fn measure_model(settings: &Settings, model: &str) -> Result<MeasuredRate, String> {
    let mut vision = settings.vision.clone();
    vision.model = model.to_owned();
    let most = vision.batch_images.max(1);
    let starting = tokio::task::spawn_blocking(move || {
        let model = Model::load(&vision.model)?;
        Engine::start(&model, &vision)
    });
    let engine = match starting.await {
        Ok(engine) => engine.map_err(|error| error.to_string())?,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    let input: lookalike_vision::Input = (0..engine.description().input_bytes())
        .map(|i| (i * 31 % 251) as u8)
        .collect();
    let batch = vec![input; most];
    let run = async || {
        let vectors = engine.embed_images(batch.clone()).await;
        vectors.map(|_| ()).map_err(|error| error.to_string())
    };
    // The first one finds its memory and its kernels.
    run().await?;
    let (begun, mut images) = (Instant::now(), 0_usize);
    while begun.elapsed() < MIN_MEASURING_TIME || images == 0 {
        run().await?;
        images += most;
    }
    Ok(MeasuredRate {
        images_per_second: images as f64 / begun.elapsed().as_secs_f64(),
        device: engine.device_line(),
        measured_at_ms: super::cache::now_millis(),
    })
}

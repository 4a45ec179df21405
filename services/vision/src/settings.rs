//! The `[vision]` section of the settings.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Model, device and the limits of decoding.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// A model by name, or a folder with a description and weights; empty: the one that the index
    /// in service was made with, and `"lookalike-mini"` for a new index.
    pub model: String,
    /// `"auto"`, `"cpu"`, `"cuda"`, `"cuda:1"` or `"vulkan"`.
    pub device: String,
    /// The longest file that is read, as `"256MiB"`.
    #[serde(with = "lookalike_chassis::settings::size")]
    pub max_file_bytes: u64,
    /// The most pixels (width × height) that are decoded.
    pub max_pixels: u64,
    /// The longest side that is decoded, in pixels.
    pub max_side: u32,
    /// Memory that the decoders of this process may hold together, as `"1GiB"`; a picture that
    /// would need more alone is refused.
    #[serde(with = "lookalike_chassis::settings::size")]
    pub max_decode_bytes: u64,
    /// How much time of a processor decoding one picture may take, as `"30s"`. A decoder that
    /// does not even notice that is given up after twice as long by the clock.
    #[serde(with = "lookalike_chassis::settings::duration")]
    pub decode_timeout: Duration,
    /// The most images that go through the network at once.
    pub batch_images: usize,
    /// Batches that wait for the device at most; more wait in their senders.
    pub queue_batches: usize,
    /// Queries that wait for the device at most; more wait in their senders.
    pub queue_queries: usize,
    /// Threads that decode pictures; 0 takes as many as the machine has cores.
    pub decode_threads: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model: String::new(),
            device: "auto".to_owned(),
            max_file_bytes: 256 << 20,
            max_pixels: 200_000_000,
            max_side: 65_000,
            max_decode_bytes: 1 << 30,
            decode_timeout: Duration::from_secs(30),
            batch_images: 16,
            queue_batches: 4,
            queue_queries: 256,
            decode_threads: 0,
        }
    }
}

impl Settings {
    /// [`decode_threads`](Self::decode_threads) with 0 resolved: at least 1.
    pub fn decode_threads(&self) -> usize {
        match self.decode_threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }
}

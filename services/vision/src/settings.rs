//! The `[vision]` section of the settings.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Model, device and limits of decoding.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The name of a model, or a folder with a description and weights. If empty, the model of the
    /// index in service. A new index gets `"efficientnet-lite0"`, or `"lookalike-mini"` where the
    /// former may not or cannot be downloaded.
    pub model: String,
    /// `"auto"` (the best GPU, or else the CPU), `"cpu"`, `"vulkan:0"`, `"cuda:1"`, or several
    /// devices that share the work, as `"vulkan:0,vulkan:1,cpu"`.
    pub device: String,
    /// Whether the CPU takes over when no GPU of `device` works.
    pub cpu_fallback: bool,
    /// A GPU that returns nothing for this long counts as failed, as `"2m"`.
    #[serde(with = "lookalike_chassis::settings::duration")]
    pub device_timeout: Duration,
    /// What computes on the CPU: `"auto"`, `"avx512-bf16"`, `"avx512-vnni"`, `"avx512"`, `"avx2"`, `"neon"`,
    /// `"portable"` or `"flex"`.
    pub kernels: CpuKernels,
    /// Longest file that is read, as `"256MiB"`.
    #[serde(with = "lookalike_chassis::settings::size")]
    pub max_file_bytes: u64,
    /// Most pixels (width × height) that a decoder keeps of an image. Large baseline JPEG and PNG files
    /// are reduced while they are decoded.
    pub max_pixels: u64,
    /// Longest side in pixels of an image that is decoded.
    pub max_side: u32,
    /// Memory that all decoders of this process may use together, as `"1GiB"`. An image that needs
    /// more on its own is rejected.
    #[serde(with = "lookalike_chassis::settings::size")]
    pub max_decode_bytes: u64,
    /// CPU time that decoding one image may use, as `"30s"`. A decoder that computes without reading
    /// is abandoned after twice that time of the wall clock.
    #[serde(with = "lookalike_chassis::settings::duration")]
    pub decode_timeout: Duration,
    /// Most images in one run of the network; 0 means 16 on the CPU, and what the memory allows on a
    /// GPU.
    pub batch_images: usize,
    /// Most batches of images that wait for each device; the senders of further ones block.
    pub max_queued_batches: usize,
    /// Most queries that wait for the devices; the senders of further ones block.
    pub max_queued_queries: usize,
    /// Threads that decode images; 0 means one per core.
    pub decode_threads: usize,
}

/// What runs networks on the CPU: our kernels for an instruction set, or burn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CpuKernels {
    /// Our kernels for the best instruction set of this CPU.
    #[default]
    Auto,
    Avx512Bf16,
    Avx512Vnni,
    Avx512,
    Avx2,
    Neon,
    Portable,
    /// burn's CPU backend: slow, the reference for everything else.
    Flex,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model: String::new(),
            device: "auto".to_owned(),
            cpu_fallback: true,
            device_timeout: Duration::from_secs(120),
            kernels: CpuKernels::Auto,
            max_file_bytes: 256 << 20,
            max_pixels: 200_000_000,
            max_side: 65_000,
            max_decode_bytes: 1 << 30,
            decode_timeout: Duration::from_secs(30),
            batch_images: 0,
            max_queued_batches: 4,
            max_queued_queries: 256,
            decode_threads: 0,
        }
    }
}

impl Settings {
    /// Returns [`decode_threads`](Self::decode_threads) with 0 resolved; at least 1.
    pub fn decode_threads(&self) -> usize {
        match self.decode_threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_kernels_are_listed() {
        let parse = |kernels: &str| {
            serde_json::from_str::<Settings>(&format!("{{\"kernels\": \"{kernels}\"}}"))
        };
        assert_eq!(
            parse("avx512-bf16").unwrap().kernels,
            CpuKernels::Avx512Bf16
        );
        let error = parse("sse9").unwrap_err().to_string();
        assert!(
            error.contains("sse9") && error.contains("`portable`, `flex`"),
            "{error}"
        );
    }
}

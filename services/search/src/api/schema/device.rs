//! The devices that compute vectors.

use poem_openapi::types::Example;
use poem_openapi::{Enum, Object};

/// What a device does at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "DeviceState", rename_all = "snake_case")]
pub(crate) enum DeviceStateBody {
    /// It is being opened and checked.
    Opening,
    /// It takes work.
    Ready,
    /// The CPU, which takes work only when no other device does.
    Standby,
    /// It was lost or gave wrong vectors. It takes no work, and is opened again after a growing delay.
    Failed,
}

/// A device of an embedder.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Device", example)]
pub(crate) struct DeviceBody {
    /// The device as in the settings, such as `cpu`, `vulkan:0` or `cuda:1`.
    pub device: String,
    /// The hardware and the precision; empty before the device was ready for the first time.
    pub hardware: String,
    /// What the device does at present.
    pub state: DeviceStateBody,
    /// Why the device failed; null unless `state` is `failed`.
    pub problem: Option<String>,
    /// The most images that the device embeds in one run. Halved when its memory is exhausted, and grown again.
    #[oai(validator(minimum(value = "1")))]
    pub max_batch: u32,
    /// Images and texts that the device has embedded since the embedder loaded the model.
    pub embedded: u64,
    /// The name of the embedder.
    pub embedder: String,
}

impl Example for DeviceBody {
    fn example() -> Self {
        Self {
            device: "cpu".into(),
            hardware: "own kernels, avx512-bf16, 2 threads".into(),
            state: DeviceStateBody::Ready,
            problem: None,
            max_batch: 16,
            embedded: 1302,
            embedder: "4d2-1a2b3c4d".into(),
        }
    }
}

//! Finds the devices of this machine and loads networks on them: one file per kind of device.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(any(feature = "cuda", feature = "vulkan"))]
mod gpu;
#[cfg(feature = "vulkan")]
pub(super) mod vulkan;

use std::sync::Arc;

pub(super) use self::cpu::CpuNetwork;
use super::{
    request::{DeviceKind, DeviceName},
    select::FoundGpu,
    worker::DeviceOpener,
};
use crate::model::Model;

/// Lists the GPUs that this build can use, also software adapters. Opens none of them. Selects the
/// folder in which burn keeps compiled kernels between starts, if the build has that feature.
pub(super) fn list_gpus() -> Vec<FoundGpu> {
    #[cfg(feature = "gpu-cache")]
    if let Some(folder) = dirs::cache_dir() {
        cubecl::environment::set_root(folder.join("lookalike").join("kernels"));
    }
    let found: &[Vec<FoundGpu>] = &[
        #[cfg(feature = "cuda")]
        cuda::list_gpus(),
        #[cfg(feature = "vulkan")]
        vulkan::list_gpus(),
    ];
    found.concat()
}

/// Returns how to load the model on a device that was found.
pub(super) fn opener(name: DeviceName, cpu: &Arc<CpuNetwork>, model: &Arc<Model>) -> DeviceOpener {
    match name.kind {
        DeviceKind::Cpu => cpu::opener(cpu),
        #[cfg(feature = "vulkan")]
        DeviceKind::Vulkan => vulkan::opener(name, model),
        #[cfg(feature = "cuda")]
        DeviceKind::Cuda => cuda::opener(name, model),
        #[cfg(not(all(feature = "cuda", feature = "vulkan")))]
        kind => {
            let _ = model;
            unreachable!("{} was not found: this build lacks it", kind.name())
        }
    }
}

//! NVIDIA GPUs through CUDA.
//!
//! Kernels are compiled at run time, so the machine needs the driver, NVRTC and the CUDA headers. A
//! device keeps its context for the life of the process: after some failures, only a restart of the
//! process makes it usable again.

use std::sync::Arc;

use burn::tensor::{DType, Device, DeviceType};
use cubecl::cuda::CudaDevice;

use super::super::{
    request::{DeviceKind, DeviceName},
    select::{FoundGpu, GpuClass},
    worker::DeviceOpener,
};
use super::gpu::{OpenGpu, load_network};
use crate::{error::Error, model::Model, network::Precision};

/// Lists the GPUs. Without a driver there are none.
pub(super) fn list_gpus() -> Vec<FoundGpu> {
    let count = Device::enumerate(DeviceType::Cuda).len();
    (0..count)
        .map(|index| FoundGpu {
            name: DeviceName {
                kind: DeviceKind::Cuda,
                index,
            },
            // The name is known only after the device was opened.
            description: "NVIDIA GPU".to_owned(),
            class: GpuClass::Cuda,
        })
        .collect()
}

pub(super) fn opener(name: DeviceName, model: &Arc<Model>) -> DeviceOpener {
    let model = Arc::clone(model);
    DeviceOpener {
        name,
        precisions: vec![Precision::Bf16, Precision::F16, Precision::F32],
        open: Box::new(move |precision| {
            let client = cubecl::Device::Cuda(CudaDevice::new(name.index)).client();
            let properties = client.properties();
            let gpu = OpenGpu {
                device: Device::cuda(name.index),
                name: properties.identity.name.clone(),
                memory_bytes: properties.memory.max_memory(),
            };
            let is_supported = match precision {
                Precision::F32 => true,
                Precision::F16 => gpu.device.supports_dtype(DType::F16),
                Precision::Bf16 => gpu.device.supports_dtype(DType::BF16),
            };
            if !is_supported {
                return Err(Error::Device {
                    device: name.to_string(),
                    problem: format!("{} cannot compute in {precision}", gpu.name),
                });
            }
            load_network(gpu, &model, precision)
        }),
    }
}

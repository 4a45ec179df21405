//! GPUs through Vulkan; on macOS, through Metal.
//!
//! Every call of [`open_gpu`] creates a new logical device, so a device that was lost can be opened
//! again, and one adapter can be opened twice.

use std::sync::{Arc, LazyLock};

use burn::tensor::{DType, Device};
use cubecl::wgpu::{RuntimeOptions, WgpuInitError, WgpuSetup, try_init_device, wgpu};

use super::super::{
    request::{DeviceKind, DeviceName},
    select::{FoundGpu, GpuClass},
    worker::DeviceOpener,
};
use super::gpu::{OpenGpu, load_network};
use crate::{error::Error, model::Model, network::Precision};

const BACKEND: wgpu::Backends = if cfg!(target_os = "macos") {
    wgpu::Backends::METAL
} else {
    wgpu::Backends::VULKAN
};

/// One instance for the whole process: the Vulkan loader crashes when instances come and go on several
/// threads at once.
static INSTANCE: LazyLock<wgpu::Instance> = LazyLock::new(|| {
    wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: BACKEND,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    })
});

fn adapters() -> Vec<wgpu::Adapter> {
    cubecl::future::block_on(INSTANCE.enumerate_adapters(BACKEND))
}

/// Lists the adapters in the order of the driver. Without a driver there are none.
pub(super) fn list_gpus() -> Vec<FoundGpu> {
    adapters()
        .iter()
        .map(wgpu::Adapter::get_info)
        .enumerate()
        .map(|(index, info)| {
            let (class, kind) = match info.device_type {
                wgpu::DeviceType::DiscreteGpu => (GpuClass::Discrete, "discrete"),
                wgpu::DeviceType::IntegratedGpu => (GpuClass::Integrated, "integrated"),
                wgpu::DeviceType::VirtualGpu => (GpuClass::Virtual, "virtual"),
                wgpu::DeviceType::Other => (GpuClass::Virtual, "unknown kind"),
                wgpu::DeviceType::Cpu => (GpuClass::Software, "software"),
            };
            FoundGpu {
                name: DeviceName {
                    kind: DeviceKind::Vulkan,
                    index,
                },
                description: format!("{}, {kind}", info.name),
                class,
            }
        })
        .collect()
}

pub(super) fn opener(name: DeviceName, model: &Arc<Model>) -> DeviceOpener {
    opener_on_adapter(name, name.index, model, |_| {})
}

/// Returns how to load the model on an adapter under any name. `on_open` gets each logical device.
pub(in crate::engine) fn opener_on_adapter(
    name: DeviceName,
    adapter: usize,
    model: &Arc<Model>,
    on_open: impl Fn(wgpu::Device) + Send + 'static,
) -> DeviceOpener {
    let model = Arc::clone(model);
    DeviceOpener {
        name,
        precisions: vec![Precision::F16, Precision::F32],
        open: Box::new(move |precision| {
            let (gpu, handle) = open_gpu(adapter).map_err(|problem| Error::Device {
                device: name.to_string(),
                problem,
            })?;
            on_open(handle);
            if precision == Precision::F16 && !gpu.device.supports_dtype(DType::F16) {
                return Err(Error::Device {
                    device: name.to_string(),
                    problem: format!("{} cannot compute in f16", gpu.name),
                });
            }
            load_network(gpu, &model, precision)
        }),
    }
}

/// Creates a logical device on an adapter.
pub(in crate::engine) fn open_gpu(index: usize) -> Result<(OpenGpu, wgpu::Device), String> {
    let adapter = adapters().into_iter().nth(index);
    let adapter = adapter.ok_or("the driver does not list it any more")?;
    let info = adapter.get_info();
    let problem = |error: WgpuInitError| error.to_string();
    let requested = cubecl::future::block_on(request_device(&adapter));
    let (device, queue) = requested.map_err(problem)?;
    let handle = device.clone();
    let setup = WgpuSetup {
        instance: INSTANCE.clone(),
        adapter,
        device,
        queue,
        backend: info.backend,
    };
    let options = RuntimeOptions::try_default().map_err(problem)?;
    let device = try_init_device(setup, options).map_err(problem)?;
    let client = cubecl::Device::Wgpu(device.clone()).client();
    let gpu = OpenGpu {
        name: info.name,
        memory_bytes: client.properties().memory.max_memory(),
        device: Device::new(device),
    };
    Ok((gpu, handle))
}

async fn request_device(
    adapter: &wgpu::Adapter,
) -> Result<(wgpu::Device, wgpu::Queue), WgpuInitError> {
    // SPIR-V, with the extensions that burn's kernels use.
    #[cfg(not(target_os = "macos"))]
    if let Some(opened) = cubecl::wgpu::vulkan::try_request_vulkan_device(adapter).await? {
        return Ok(opened);
    }
    let features = adapter
        .features()
        .difference(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS)
        .difference(wgpu::Features::all_experimental_mask());
    adapter
        .request_device(&wgpu::DeviceDescriptor {
            required_features: features,
            required_limits: adapter.limits(),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..wgpu::DeviceDescriptor::default()
        })
        .await
        .map_err(|error| WgpuInitError::RequestDevice {
            message: error.to_string(),
        })
}

//! What CUDA and Vulkan devices have in common: loading a network on an open device.

use std::sync::Arc;

use burn::tensor::Device;

use super::super::network::{DeviceMemory, DeviceNetwork};
use crate::{
    error::Error,
    model::Model,
    network::{Executor, Network, Precision},
};

/// Images of one run, if the device does not report its memory.
const DEFAULT_BATCH: usize = 16;

/// A device that is ready for tensors.
pub(in crate::engine) struct OpenGpu {
    pub device: Device,
    /// The part's name.
    pub name: String,
    /// Bytes that the device may hold, if the driver reports them.
    pub memory_bytes: Option<u64>,
}

/// Loads the model on an open device.
pub(super) fn load_network(
    gpu: OpenGpu,
    model: &Model,
    precision: Precision,
) -> Result<DeviceNetwork, Error> {
    let OpenGpu {
        device,
        name,
        memory_bytes,
    } = gpu;
    let network = Arc::new(Network::from_model(
        model,
        &Executor::Burn {
            device: device.clone(),
            precision,
        },
    )?);
    device.sync().map_err(|error| Error::Warmup {
        problem: format!("{name} cannot hold the weights: {error}"),
    })?;
    let text_network = Arc::clone(&network);
    let reserved = move || Some(device.memory_pool_usage()?.bytes_reserved);
    let memory = memory_bytes
        .zip(reserved())
        .map(|(capacity, reserved_by_weights)| DeviceMemory {
            capacity,
            reserved_by_weights,
            reserved: Box::new(reserved),
        });
    Ok(DeviceNetwork {
        forward_images: Box::new(move |pixels, batch, _| network.forward(pixels, batch)),
        forward_texts: Box::new(move |texts| text_network.forward_texts(texts)),
        dimension: model.description.dimension,
        trial_input: vec![128; model.description.input_bytes()].into_boxed_slice(),
        golden: None,
        has_canary: true,
        image_canaries: None,
        text_canaries: None,
        max_batch: DEFAULT_BATCH,
        has_power_of_two: true,
        memory,
        description: format!("{name}, {precision}"),
    })
}

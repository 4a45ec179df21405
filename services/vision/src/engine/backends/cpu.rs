//! The network on the CPU.

use std::sync::{Arc, Mutex, PoisonError};

use super::super::{network::DeviceNetwork, request::DeviceName, worker::DeviceOpener};
use crate::{
    error::Error,
    model::Model,
    network::{Executor, Network, Precision},
    settings::CpuKernels,
};

/// Images of one run: more make a CPU no faster, and queries wait longer.
const CPU_BATCH: usize = 16;

/// The network on the CPU, loaded once when it is first needed.
pub(in crate::engine) struct CpuNetwork {
    executor: Executor,
    state: Mutex<CpuState>,
}

enum CpuState {
    Unloaded(Arc<Model>),
    Loaded(LoadedCpuNetwork),
}

#[derive(Clone)]
struct LoadedCpuNetwork {
    network: Arc<Network>,
    dimension: usize,
    input_bytes: usize,
}

impl CpuNetwork {
    /// # Errors
    /// Fails if the CPU does not support the kernels of the settings.
    pub(in crate::engine) fn new(model: &Arc<Model>, kernels: CpuKernels) -> Result<Self, Error> {
        Ok(Self {
            executor: Executor::for_cpu(kernels)?,
            state: Mutex::new(CpuState::Unloaded(Arc::clone(model))),
        })
    }

    fn load(&self) -> Result<LoadedCpuNetwork, Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = match &*state {
            CpuState::Loaded(loaded) => return Ok(loaded.clone()),
            CpuState::Unloaded(model) => LoadedCpuNetwork {
                network: Arc::new(Network::from_model(model, &self.executor)?),
                dimension: model.description.dimension,
                input_bytes: model.description.input_bytes(),
            },
        };
        // The weights are not needed any more.
        *state = CpuState::Loaded(loaded.clone());
        Ok(loaded)
    }

    /// Loads the network, if it is not loaded yet.
    pub(in crate::engine) fn open(&self) -> Result<DeviceNetwork, Error> {
        let LoadedCpuNetwork {
            network,
            dimension,
            input_bytes,
        } = self.load()?;
        let text_network = Arc::clone(&network);
        Ok(DeviceNetwork {
            forward_images: Box::new(move |pixels, batch| network.forward(pixels, batch)),
            forward_texts: Box::new(move |texts| text_network.forward_texts(texts)),
            dimension,
            trial_input: vec![128; input_bytes].into_boxed_slice(),
            max_batch: CPU_BATCH,
            has_power_of_two: false,
            memory: None,
            description: describe_cpu(&self.executor),
        })
    }
}

pub(super) fn opener(cpu: &Arc<CpuNetwork>) -> DeviceOpener {
    let cpu = Arc::clone(cpu);
    DeviceOpener {
        name: DeviceName::CPU,
        precisions: vec![Precision::F32],
        open: Box::new(move |_| cpu.open()),
    }
}

fn describe_cpu(executor: &Executor) -> String {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let plural = if threads == 1 { "" } else { "s" };
    format!("{executor}, {threads} thread{plural}")
}

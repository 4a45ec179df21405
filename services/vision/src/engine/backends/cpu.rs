//! The network on the CPU.

use std::sync::{Arc, Mutex, PoisonError};

use lookalike_chassis::background;

use super::super::{
    network::{DeviceNetwork, Urgency},
    request::DeviceName,
    worker::DeviceOpener,
};
use crate::{
    error::Error,
    model::Model,
    model::golden::{MIN_GOLDEN_COSINE, check_golden_vector, draw_golden_picture},
    network::{Executor, Network, Precision},
    settings::CpuKernels,
};

/// Images of one run: more make a CPU no faster, and queries wait longer.
const CPU_BATCH: usize = 16;

/// The network on the CPU, loaded once when it is first needed.
pub(in crate::engine) struct CpuNetwork {
    executor: Executor,
    /// The kernels for models that `executor` computes too roughly.
    precise_executor: Option<Executor>,
    state: Mutex<CpuState>,
}

enum CpuState {
    Unloaded(Arc<Model>),
    Loaded(LoadedCpuNetwork),
}

#[derive(Clone)]
struct LoadedCpuNetwork {
    network: Arc<Network>,
    /// Threads for batches that no query waits for. If there are none, these batches run as queries do.
    background_threads: Option<Arc<rayon::ThreadPool>>,
    dimension: usize,
    input_bytes: usize,
    description: String,
}

impl CpuNetwork {
    /// # Errors
    /// Fails if the CPU does not support the kernels of the settings.
    pub(in crate::engine) fn new(model: &Arc<Model>, kernels: CpuKernels) -> Result<Self, Error> {
        let executor = Executor::for_cpu(kernels)?;
        let precise_executor = match kernels {
            CpuKernels::Auto => executor.with_full_precision(),
            _ => None,
        };
        Ok(Self {
            executor,
            precise_executor,
            state: Mutex::new(CpuState::Unloaded(Arc::clone(model))),
        })
    }

    /// Returns the network, and the vector of the golden picture if this call computed it.
    fn load(&self) -> Result<(LoadedCpuNetwork, Option<Vec<f32>>), Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (loaded, golden) = match &*state {
            CpuState::Loaded(loaded) => return Ok((loaded.clone(), None)),
            CpuState::Unloaded(model) => {
                let (network, executor, golden) = self.load_network(model)?;
                let loaded = LoadedCpuNetwork {
                    network: Arc::new(network),
                    background_threads: start_background_threads(),
                    dimension: model.description.dimension,
                    input_bytes: model.description.input_bytes(),
                    description: describe_cpu(executor),
                };
                (loaded, golden)
            }
        };
        // The weights are not needed any more.
        *state = CpuState::Loaded(loaded.clone());
        Ok((loaded, golden))
    }

    /// Loads the network with the fast kernels, or with the precise ones if the fast ones change the
    /// vector of the golden picture too much. Also returns this vector if it decided for the fast ones.
    fn load_network(&self, model: &Model) -> Result<(Network, &Executor, Option<Vec<f32>>), Error> {
        let network = Network::from_model(model, &self.executor)?;
        let (Some(precise), Some(expected)) = (&self.precise_executor, &model.golden) else {
            return Ok((network, &self.executor, None));
        };
        let picture = draw_golden_picture(model.description.side());
        let golden = network.forward(&picture, 1);
        match check_golden_vector(expected, &golden) {
            Ok(()) => Ok((network, &self.executor, Some(golden))),
            Err(cosine) => {
                tracing::warn!(
                    model = model.description.name,
                    "{} computes the golden picture with the cosine {cosine:.4}, below \
                     {MIN_GOLDEN_COSINE}; using {precise}",
                    self.executor
                );
                Ok((Network::from_model(model, precise)?, precise, None))
            }
        }
    }

    /// Loads the network, if it is not loaded yet.
    pub(in crate::engine) fn open(&self) -> Result<DeviceNetwork, Error> {
        let (loaded, golden) = self.load()?;
        let LoadedCpuNetwork {
            network,
            background_threads,
            dimension,
            input_bytes,
            description,
        } = loaded;
        let text_network = Arc::clone(&network);
        Ok(DeviceNetwork {
            forward_images: Box::new(move |pixels, batch, urgency| {
                match (urgency, &background_threads) {
                    (Urgency::Background, Some(threads)) => {
                        threads.install(|| network.forward(pixels, batch))
                    }
                    _ => network.forward(pixels, batch),
                }
            }),
            forward_texts: Box::new(move |texts| text_network.forward_texts(texts)),
            dimension,
            trial_input: vec![128; input_bytes].into_boxed_slice(),
            golden,
            has_canary: false,
            image_canaries: None,
            text_canaries: None,
            max_batch: CPU_BATCH,
            has_power_of_two: false,
            memory: None,
            description,
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

/// Starts as many threads of low priority as queries have of normal priority, so that neither queries nor the index wait
/// for a core while batches run.
fn start_background_threads() -> Option<Arc<rayon::ThreadPool>> {
    let threads = rayon::ThreadPoolBuilder::new()
        .thread_name(|_| "network".to_owned())
        .start_handler(|_| background::lower_priority())
        .build();
    threads.ok().map(Arc::new)
}

fn describe_cpu(executor: &Executor) -> String {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let plural = if threads == 1 { "" } else { "s" };
    format!("{executor}, {threads} thread{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(model: &Model) -> String {
        let cpu = CpuNetwork::new(&Arc::new(model.clone()), CpuKernels::Auto).unwrap();
        cpu.open().unwrap().description
    }

    #[test]
    fn the_golden_picture_is_embedded_once_at_a_start() {
        let model = Arc::new(Model::load("lookalike-mini").unwrap());
        for kernels in [CpuKernels::Auto, CpuKernels::Portable] {
            let cpu = CpuNetwork::new(&model, kernels).unwrap();
            let first = cpu.open().unwrap().golden;
            assert_eq!(first.is_some(), cpu.precise_executor.is_some());
            let again = cpu.open().unwrap();
            assert_eq!(
                again.golden, None,
                "a device that is opened again computes it"
            );
            let picture = draw_golden_picture(model.description.side());
            if let Some(first) = first {
                assert_eq!(first, again.embed_image(&picture).unwrap());
            }
        }
    }

    #[test]
    fn a_model_that_is_computed_too_roughly_gets_single_precision() {
        let mut model = Model::load("lookalike-mini").unwrap();
        let fast = Executor::for_cpu(CpuKernels::Auto).unwrap();
        assert_eq!(open(&model), describe_cpu(&fast));
        let precise = fast.with_full_precision().unwrap_or(fast);
        let golden = model.golden.as_mut().unwrap();
        golden.fill(0.0);
        golden[0] = 1.0;
        assert_eq!(open(&model), describe_cpu(&precise));
    }
}

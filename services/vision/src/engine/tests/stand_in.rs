//! A stand-in for a device: it records its batches, waits for a gate, and fails on request.

use std::{
    collections::HashMap,
    sync::{Condvar, Mutex, MutexGuard},
    time::Duration,
};

use crate::network::Precision;

use super::super::{
    network::DeviceNetwork,
    request::{DeviceKind, DeviceName},
    *,
};

pub const SIDE_BYTES: usize = 16 * 16 * 3;

/// State of a stand-in device.
#[derive(Default)]
struct StandInState {
    is_open: bool,
    /// The first bytes of the inputs of each batch.
    batches: Vec<Vec<u8>>,
    /// Every batch panics.
    is_dead: bool,
    /// All vectors are zero, except the first of a batch of several.
    is_dull: bool,
    /// Batches of more inputs panic; 0 is no limit.
    max_inputs: usize,
    /// Precisions in which all vectors are those of other inputs.
    wrong_precisions: Vec<Precision>,
    opened: Vec<Precision>,
    /// Its batches contain a canary, too.
    has_canary: bool,
    /// It returns the vectors of an earlier batch of the same size, if there was one.
    is_stale: bool,
    /// The vectors of the last computed batch of each size.
    last_vectors: HashMap<usize, Vec<f32>>,
}

/// A stand-in device: returns the unit vector of axis `byte % 4` for the first byte of each input. Byte
/// 13 panics, 66 returns NaN, after 99 the device is dead, after 77 it is dull, and 55 makes it dead
/// until it is opened again.
#[derive(Default)]
pub struct StandIn {
    state: Mutex<StandInState>,
    changed: Condvar,
}

impl StandIn {
    pub fn with_open_gate() -> Arc<Self> {
        let device = Self::default();
        device.open();
        Arc::new(device)
    }

    fn lock(&self) -> MutexGuard<'_, StandInState> {
        self.state.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut StandInState)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    pub fn open(&self) {
        self.change(|state| state.is_open = true);
    }

    pub fn close(&self) {
        self.change(|state| state.is_open = false);
    }

    pub fn batches(&self) -> Vec<Vec<u8>> {
        self.lock().batches.clone()
    }

    pub fn set_dead(&self, is_dead: bool) {
        self.change(|state| state.is_dead = is_dead);
    }

    pub fn set_max_inputs(&self, max_inputs: usize) {
        self.change(|state| state.max_inputs = max_inputs);
    }

    pub fn set_wrong(&self, precisions: &[Precision]) {
        self.change(|state| state.wrong_precisions = precisions.to_vec());
    }

    pub fn add_canary(&self) {
        self.change(|state| state.has_canary = true);
    }

    pub fn make_stale(&self) {
        self.change(|state| state.is_stale = true);
    }

    pub fn opened(&self) -> Vec<Precision> {
        self.lock().opened.clone()
    }

    fn run_images(&self, pixels: &[u8], precision: Precision) -> Vec<f32> {
        let firsts: Vec<u8> = pixels.chunks_exact(SIDE_BYTES).map(|p| p[0]).collect();
        let mut state = self.lock();
        state.batches.push(firsts.clone());
        self.changed.notify_all();
        while !state.is_open {
            state = self.changed.wait(state).unwrap();
        }
        state.is_dead |= firsts.contains(&99) || firsts.contains(&55);
        state.is_dull |= firsts.contains(&77);
        let (is_dead, is_dull, max_inputs) = (state.is_dead, state.is_dull, state.max_inputs);
        let is_wrong = state.wrong_precisions.contains(&precision);
        drop(state);
        assert!(!firsts.contains(&13), "unlucky");
        assert!(!is_dead, "dead");
        assert!(
            max_inputs == 0 || firsts.len() <= max_inputs,
            "out of memory"
        );
        let right = match is_dull {
            false => firsts.len(),
            true => usize::from(firsts.len() > 1),
        };
        let mut vectors = vec![0.0; firsts.len() * 4];
        for (i, first) in firsts.iter().enumerate().take(right) {
            let axis = (usize::from(*first) + usize::from(is_wrong)) % 4;
            vectors[i * 4 + axis] = if *first == 66 { f32::NAN } else { 1.0 };
        }
        let mut state = self.lock();
        if state.is_stale
            && let Some(old) = state.last_vectors.get(&firsts.len())
        {
            return old.clone();
        }
        state.last_vectors.insert(firsts.len(), vectors.clone());
        vectors
    }

    /// Does the same with the first byte of every text, and fails if one is `!`.
    fn run_texts(&self, texts: &[String]) -> Result<Vec<f32>, Error> {
        let firsts: Vec<u8> = texts.iter().map(|text| text.as_bytes()[0]).collect();
        self.lock().batches.push(firsts.clone());
        if firsts.contains(&b'!') {
            let problem = "unreadable".to_owned();
            return Err(Error::Text { problem });
        }
        let mut vectors = vec![0.0; firsts.len() * 4];
        for (i, first) in firsts.iter().enumerate() {
            vectors[i * 4 + usize::from(first % 4)] = 1.0;
        }
        Ok(vectors)
    }

    fn load(self: &Arc<Self>, precision: Precision) -> DeviceNetwork {
        let (device, text_device) = (Arc::clone(self), Arc::clone(self));
        DeviceNetwork {
            forward_images: Box::new(move |pixels, _, _| device.run_images(pixels, precision)),
            forward_texts: Box::new(move |texts| text_device.run_texts(texts)),
            dimension: 4,
            trial_input: make_inputs(&[128]).remove(0),
            golden: None,
            has_canary: self.lock().has_canary,
            image_canaries: None,
            text_canaries: None,
            max_batch: 8,
            has_power_of_two: false,
            memory: None,
            description: format!("stand-in, {precision}"),
        }
    }

    pub fn opener(self: &Arc<Self>, name: DeviceName) -> DeviceOpener {
        let device = Arc::clone(self);
        DeviceOpener {
            name,
            precisions: vec![Precision::F16, Precision::F32],
            open: Box::new(move |precision| {
                // A device that byte 55 killed works when it is opened again.
                device.change(|state| {
                    state.is_dead &= !state.batches.iter().any(|batch| batch.contains(&55));
                    state.opened.push(precision);
                });
                Ok(device.load(precision))
            }),
        }
    }
}

pub fn gpu_name(index: usize) -> DeviceName {
    DeviceName {
        kind: DeviceKind::Vulkan,
        index,
    }
}

pub fn make_inputs(firsts: &[u8]) -> Vec<Input> {
    firsts
        .iter()
        .map(|first| vec![*first; SIDE_BYTES].into_boxed_slice())
        .collect()
}

/// Returns the axis of each vector, which identifies its image.
pub fn vector_axes(vectors: &[Vec<f32>]) -> Vec<u8> {
    vectors
        .iter()
        .map(|vector| vector.iter().position(|value| *value == 1.0).unwrap() as u8)
        .collect()
}

fn describe_model() -> Description {
    let mut description = Description::find_bundled("lookalike-mini").unwrap();
    description.dimension = 4;
    description.input = [3, 16, 16];
    description.preprocessing.crop = [16, 16];
    description
}

/// Settings of a test pool.
pub struct TestPool {
    pub batch_images: usize,
    pub retry_delay: Duration,
    pub batch_timeout: Duration,
    /// The last device works only while no other does.
    pub has_last_resort: bool,
    pub needs_member: bool,
    /// Compare the devices with a stand-in that is always right.
    pub has_reference: bool,
}

impl Default for TestPool {
    fn default() -> Self {
        Self {
            batch_images: 8,
            retry_delay: Duration::from_secs(3600),
            batch_timeout: Duration::from_secs(3600),
            has_last_resort: false,
            needs_member: true,
            has_reference: false,
        }
    }
}

impl TestPool {
    /// Starts a pool of stand-ins. Their gates are open during the start, and those that are named
    /// [`DeviceName::CPU`] never time out.
    pub fn start(&self, devices: &[(DeviceName, &Arc<StandIn>)]) -> Result<Engine, Error> {
        let description = describe_model();
        let mut check = DeviceCheck::new(&description, None);
        if self.has_reference {
            let reference = StandIn::with_open_gate();
            check = check
                .with_reference(&reference.load(Precision::F32))
                .unwrap();
        }
        let were_open: Vec<bool> = devices
            .iter()
            .map(|(_, device)| device.lock().is_open)
            .collect();
        let openers = devices.iter().enumerate().map(|(i, (name, device))| {
            device.open();
            let is_last_resort = self.has_last_resort && i + 1 == devices.len();
            (device.opener(*name), is_last_resort)
        });
        let plan = PoolPlan {
            openers: openers.collect(),
            check,
            needs_member: self.needs_member,
            reason: "for tests".to_owned(),
            batch_images: self.batch_images,
            limits: PoolLimits {
                retry_delay: self.retry_delay,
                max_retry_delay: self.retry_delay,
                batch_timeout: self.batch_timeout,
                max_queued_queries: 64,
                max_queued_images: 64,
            },
        };
        let engine = Engine::start_pool(description, plan);
        for ((_, device), was_open) in devices.iter().zip(were_open) {
            device.change(|state| {
                state.is_open = was_open;
                state.batches.clear();
            });
        }
        engine
    }
}

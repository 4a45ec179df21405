//! What every request works with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use lookalike_bus::{Bus, StatusView, asked_as};
use lookalike_index::Index;
use lookalike_proto::Library;
use lookalike_vision::{Description, Limits};

use crate::Settings;
use crate::body::Budget;
use crate::files::Disk;
use crate::gate::Gate;
use crate::thumbnails::Cache;

/// What the service stands on.
pub struct Context {
    /// For vectors of uploaded pictures, and for questions to the watchers.
    pub bus: Bus,
    /// Where hits come from.
    pub index: Index,
    /// The model in service: its name, and how pictures are prepared for it.
    pub description: Description,
    /// Bounds of decoding.
    pub limits: Limits,
    /// The libraries whose files can be shown, with their root folders on this machine.
    pub libraries: BTreeMap<Library, PathBuf>,
    /// What the other roles tell of themselves.
    pub status: StatusView,
    /// Where to listen, and the limits of a request.
    pub settings: Settings,
}

/// The model in service and its index, which change together. A request takes them once, so that
/// its vector never meets another model's.
#[derive(Clone)]
pub(crate) struct Serving {
    pub index: Index,
    pub description: Description,
}

impl Serving {
    /// By what name embedders are asked for this model's vectors.
    pub(crate) fn asked_as(&self) -> String {
        asked_as(&self.description.name, &self.description.checksum)
    }
}

/// [`Context`] and what the requests share.
pub(crate) struct Service {
    serving: RwLock<Arc<Serving>>,
    left_behind: RwLock<Option<String>>,
    pub bus: Bus,
    pub limits: Limits,
    pub libraries: BTreeMap<Library, PathBuf>,
    pub disks: BTreeMap<Library, Disk>,
    pub status: StatusView,
    pub settings: Settings,
    /// Memory of all uploads.
    pub budget: Budget,
    /// Decoding for searches; they never wait behind thumbnails.
    pub search_gate: Gate,
    /// Decoding for thumbnails.
    pub thumbnail_gate: Gate,
    pub thumbnails: Cache,
}

impl Service {
    pub(crate) fn new(context: Context) -> Self {
        let settings = context.settings;
        let gate = || Gate::new(settings.concurrent_decodes(), settings.max_waiting_decodes);
        let serving = Serving {
            index: context.index,
            description: context.description,
        };
        let names = context.libraries.keys();
        Self {
            serving: RwLock::new(Arc::new(serving)),
            left_behind: RwLock::default(),
            bus: context.bus,
            limits: context.limits,
            disks: names.map(|name| (name.clone(), Disk::new())).collect(),
            libraries: context.libraries,
            status: context.status,
            budget: Budget::new(settings.max_buffered_bytes),
            search_gate: gate(),
            thumbnail_gate: gate(),
            thumbnails: Cache::new(settings.thumbnail_cache_bytes),
            settings,
        }
    }

    /// The model in service and its index, for one request.
    pub(crate) fn serving(&self) -> Arc<Serving> {
        let serving = self.serving.read();
        serving.expect("no holder of this lock panics").clone()
    }

    /// Goes over to another model: requests that are under way end with what they began with.
    pub(crate) fn go_over(&self, serving: Serving) {
        let mut current = self.serving.write().expect("no holder of this lock panics");
        *current = Arc::new(serving);
    }

    /// Why the service does not go over to the model in service.
    pub(crate) fn left_behind(&self) -> Option<String> {
        let why = self.left_behind.read();
        why.expect("no holder of this lock panics").clone()
    }

    pub(crate) fn say_left_behind(&self, why: Option<String>) {
        let mut said = self
            .left_behind
            .write()
            .expect("no holder of this lock panics");
        *said = why;
    }
}

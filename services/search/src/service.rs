//! What every request works with.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lookalike_bus::{Bus, StatusView};
use lookalike_index::Index;
use lookalike_proto::Library;
use lookalike_vision::{Description, Limits};

use crate::Settings;
use crate::body::Budget;
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

/// [`Context`] and what the requests share.
pub(crate) struct Service {
    pub bus: Bus,
    pub index: Index,
    pub description: Description,
    pub limits: Limits,
    pub libraries: BTreeMap<Library, PathBuf>,
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
        Self {
            bus: context.bus,
            index: context.index,
            description: context.description,
            limits: context.limits,
            libraries: context.libraries,
            status: context.status,
            budget: Budget::new(settings.max_buffered_bytes),
            search_gate: gate(),
            thumbnail_gate: gate(),
            thumbnails: Cache::new(settings.thumbnail_cache_bytes),
            settings,
        }
    }
}

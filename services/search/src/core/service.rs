//! What every request works with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use lookalike_bus::{Bus, StatusView, request_subject};
use lookalike_index::Index;
use lookalike_proto::LibraryName;
use lookalike_vision::{Description, Limits};

use crate::Settings;
use crate::api::body::UploadBudget;
use crate::core::decode_limiter::DecodeLimiter;
use crate::core::files::LibraryDisk;
use crate::core::thumbnails::ThumbnailCache;

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
    pub libraries: BTreeMap<LibraryName, PathBuf>,
    /// What the other roles tell of themselves.
    pub status: StatusView,
    /// Where to listen, and the limits of a request.
    pub settings: Settings,
}

/// The model in service and its index, which change together. A request takes them once, so that
/// its vector never meets another model's.
#[derive(Clone)]
pub(crate) struct ServingModel {
    pub index: Index,
    pub description: Description,
}

impl ServingModel {
    /// By what name embedders are asked for this model's vectors.
    pub(crate) fn request_subject(&self) -> String {
        request_subject(&self.description.name, &self.description.checksum)
    }
}

/// [`Context`] and what the requests share.
pub(crate) struct SearchService {
    serving: RwLock<Arc<ServingModel>>,
    rollover_error: RwLock<Option<String>>,
    pub bus: Bus,
    pub limits: Limits,
    pub libraries: BTreeMap<LibraryName, PathBuf>,
    pub disks: BTreeMap<LibraryName, LibraryDisk>,
    pub status: StatusView,
    pub settings: Settings,
    /// Memory of all uploads.
    pub upload_budget: UploadBudget,
    /// Decoding for searches; they never wait behind thumbnails.
    pub search_decodes: DecodeLimiter,
    /// Decoding for thumbnails.
    pub thumbnail_decodes: DecodeLimiter,
    pub thumbnail_cache: ThumbnailCache,
}

impl SearchService {
    pub(crate) fn new(context: Context) -> Self {
        let settings = context.settings;
        let gate =
            || DecodeLimiter::new(settings.concurrent_decodes(), settings.max_waiting_decodes);
        let serving = ServingModel {
            index: context.index,
            description: context.description,
        };
        let names = context.libraries.keys();
        Self {
            serving: RwLock::new(Arc::new(serving)),
            rollover_error: RwLock::default(),
            bus: context.bus,
            limits: context.limits,
            disks: names
                .map(|name| (name.clone(), LibraryDisk::new()))
                .collect(),
            libraries: context.libraries,
            status: context.status,
            upload_budget: UploadBudget::new(settings.max_buffered_bytes),
            search_decodes: gate(),
            thumbnail_decodes: gate(),
            thumbnail_cache: ThumbnailCache::new(settings.thumbnail_cache_bytes),
            settings,
        }
    }

    /// The model in service and its index, for one request.
    pub(crate) fn serving(&self) -> Arc<ServingModel> {
        let serving = self.serving.read();
        serving.expect("no holder of this lock panics").clone()
    }

    /// Goes over to another model: requests that are under way end with what they began with.
    pub(crate) fn activate_model(&self, serving: ServingModel) {
        let mut current = self.serving.write().expect("no holder of this lock panics");
        *current = Arc::new(serving);
    }

    /// Why the service does not go over to the model in service.
    pub(crate) fn rollover_error(&self) -> Option<String> {
        let why = self.rollover_error.read();
        why.expect("no holder of this lock panics").clone()
    }

    pub(crate) fn set_rollover_error(&self, why: Option<String>) {
        let mut said = self
            .rollover_error
            .write()
            .expect("no holder of this lock panics");
        *said = why;
    }
}

//! The model that searches use.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use lookalike_bus::request_subject;
use lookalike_index::Index;
use lookalike_vision::Description;

/// A model and the index of its vectors, which change together.
#[derive(Clone)]
pub(crate) struct ServingModel {
    pub index: Index,
    pub description: Arc<Description>,
}

impl ServingModel {
    /// Returns the NATS subject of the embedders that serve this model.
    pub(crate) fn request_subject(&self) -> String {
        request_subject(&self.description.name, &self.description.checksum)
    }
}

/// The model that new requests use, and why the service does not use a newer one.
pub(crate) struct CurrentModel {
    model: ArcSwap<ServingModel>,
    rollover_error: ArcSwapOption<String>,
}

impl CurrentModel {
    pub(crate) fn new(model: ServingModel) -> Self {
        Self {
            model: ArcSwap::from_pointee(model),
            rollover_error: ArcSwapOption::empty(),
        }
    }

    pub(crate) fn load(&self) -> Arc<ServingModel> {
        self.model.load_full()
    }

    /// Requests in progress end with the model they started with.
    pub(crate) fn replace_model(&self, model: ServingModel) {
        self.model.store(Arc::new(model));
    }

    pub(crate) fn rollover_error(&self) -> Option<String> {
        self.rollover_error.load().as_deref().cloned()
    }

    pub(crate) fn set_rollover_error(&self, error: Option<String>) {
        self.rollover_error.store(error.map(Arc::new));
    }
}

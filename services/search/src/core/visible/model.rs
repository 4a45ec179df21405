//! The model in service with the index as a request sees it.

use std::sync::Arc;

use lookalike_bus::request_subject;
use lookalike_vision::Description;

use super::index::VisibleIndex;
use super::libraries::VisibleLibraries;
use crate::core::serving_model::ServingModel;

/// A model and the visible rows of its index. A request loads them once, so its vector is never
/// compared with those of another model.
#[derive(Clone)]
pub(crate) struct VisibleModel {
    pub index: VisibleIndex,
    pub description: Arc<Description>,
}

impl VisibleModel {
    pub(crate) fn new(serving: &ServingModel, libraries: VisibleLibraries) -> Self {
        Self {
            index: VisibleIndex::new(serving.index.clone(), libraries),
            description: Arc::clone(&serving.description),
        }
    }

    /// Returns the NATS subject of the embedders that serve this model.
    pub(crate) fn request_subject(&self) -> String {
        request_subject(&self.description.name, &self.description.checksum)
    }
}

//! The JSON types of the API, each field with its unit, limits and an example. The OpenAPI document is
//! generated from them.

mod comparison;
mod consistency;
mod device;
mod duplicates;
mod event;
mod facets;
mod failure;
mod history;
mod hit;
mod image;
mod library;
mod query;
mod saved_search;
mod stats;
mod upload;

pub(crate) use comparison::{Comparison, DifferenceBody, OverlayTransformBody};
pub(crate) use consistency::ConsistencyBody;
pub(crate) use device::{DeviceBody, DeviceStateBody};
pub(crate) use duplicates::{
    DuplicateGroupBody, DuplicateImageBody, DuplicateKindBody, DuplicateList,
};
pub(crate) use event::{EventBody, EventKind};
pub(crate) use facets::{Facet, FacetAnswer, FacetFields, FacetValue, Facets};
pub(crate) use failure::{FailureBody, FailureList, ReasonBody, Selection, SelectionResult};
pub(crate) use history::{FileHistoryBody, HistoryStep};
pub(crate) use hit::{BandBody, EXAMPLE_SEARCH_CURSOR, FoldedBody, HitBody, SearchAnswer};
pub(crate) use image::{EXAMPLE_HASH, EXAMPLE_ID, ImageBody, ImageList};
pub(crate) use library::{DegradedBody, LibraryBody, LibraryList, ScanStarted};
pub(crate) use query::{GroupBody, QueryPart, RegionBody, SearchRequest};
pub(crate) use saved_search::{
    SavedMatchBody, SavedMatchList, SavedQuery, SavedQueryPart, SavedSearchBody,
    SavedSearchListBody, SavedSearchRequest, WebhookBody, WebhookRequest,
};
pub(crate) use stats::{ModelBody, RatesBody, Stats};
pub(crate) use upload::{EXAMPLE_UPLOAD_ID, RemovalBody, UploadResultBody, UploadStateBody};

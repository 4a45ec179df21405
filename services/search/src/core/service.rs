//! What every request works with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use lookalike_bus::{Bus, StatusView};
use lookalike_index::Index;
use lookalike_proto::LibraryName;
use lookalike_vision::{Description, Limits};

use super::decode_limiter::DecodeLimiter;
use super::event_feed::EventFeed;
use super::library_disk::LibraryIoPermits;
use super::search_permits::SearchPermits;
use super::serving_model::{CurrentModel, ServingModel};
use super::thumbnail_cache::ThumbnailCache;
use super::upload_budget::UploadBudget;
use crate::saved::settings::SavedSearchSettings;
use crate::saved::store::SavedSearchStore;
use crate::settings::Settings;
use crate::uploads::library_uploads::LibraryUploads;
use crate::uploads::settings::{LibraryPermissions, UploadSettings};
use crate::webhook::sender::WebhookSender;
use crate::webhook::settings::WebhookSettings;

/// The dependencies of the service.
pub struct Context {
    pub bus: Bus,
    pub index: Index,
    /// The model in service.
    pub description: Description,
    pub limits: Limits,
    /// The libraries whose files can be displayed, with their root folders on this machine.
    pub libraries: BTreeMap<LibraryName, PathBuf>,
    /// What the API may do with their files; a library that is missing permits nothing.
    pub permissions: BTreeMap<LibraryName, LibraryPermissions>,
    /// The status that the other roles report.
    pub status: StatusView,
    pub settings: Settings,
    pub saved_searches: SavedSearchSettings,
    pub webhooks: WebhookSettings,
    /// With the path of the trash folder.
    pub uploads: UploadSettings,
}

/// [`Context`] and what the requests share.
pub(crate) struct SearchService {
    pub model: CurrentModel,
    pub bus: Bus,
    pub limits: Limits,
    pub libraries: BTreeMap<LibraryName, PathBuf>,
    pub disks: BTreeMap<LibraryName, LibraryIoPermits>,
    pub status: StatusView,
    pub settings: Settings,
    pub upload_budget: UploadBudget,
    pub uploads: BTreeMap<LibraryName, LibraryUploads>,
    pub upload_settings: UploadSettings,
    pub search_permits: SearchPermits,
    pub facet_permits: SearchPermits,
    pub duplicate_permits: SearchPermits,
    /// Separate from that of thumbnails, so a search never waits for thumbnails.
    pub search_decodes: DecodeLimiter,
    pub thumbnail_decodes: DecodeLimiter,
    pub thumbnail_cache: ThumbnailCache,
    pub event_feed: Arc<EventFeed>,
    pub saved_searches: SavedSearchStore,
    pub webhooks: WebhookSender,
    pub webhook_settings: WebhookSettings,
}

impl SearchService {
    pub(crate) fn new(context: Context) -> Self {
        let settings = context.settings;
        let limiter =
            || DecodeLimiter::new(settings.concurrent_decodes(), settings.max_waiting_decodes);
        let names = context.libraries.keys();
        let permissions_of = |name| context.permissions.get(name).copied().unwrap_or_default();
        let uploads = names
            .clone()
            .map(|name| (name.clone(), LibraryUploads::new(permissions_of(name))));
        let uploads = uploads.collect();
        Self {
            model: CurrentModel::new(ServingModel {
                index: context.index,
                description: context.description,
            }),
            saved_searches: SavedSearchStore::new(context.bus.clone(), context.saved_searches),
            webhooks: WebhookSender::new(&context.webhooks),
            webhook_settings: context.webhooks,
            bus: context.bus,
            limits: context.limits,
            disks: names
                .map(|name| (name.clone(), LibraryIoPermits::new()))
                .collect(),
            libraries: context.libraries,
            status: context.status,
            search_permits: SearchPermits::new(settings.max_concurrent_searches, "searches"),
            facet_permits: SearchPermits::new(settings.max_concurrent_facets, "counts of values"),
            duplicate_permits: SearchPermits::new(
                settings.max_concurrent_duplicates,
                "searches for duplicates",
            ),
            upload_budget: UploadBudget::new(settings.max_buffered_bytes),
            uploads,
            upload_settings: context.uploads,
            search_decodes: limiter(),
            thumbnail_decodes: limiter(),
            event_feed: Arc::new(EventFeed::new(settings.max_event_readers)),
            thumbnail_cache: ThumbnailCache::new(settings.thumbnail_cache_bytes),
            settings,
        }
    }
}

//! What every request works with.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use lookalike_bus::{Bus, EmbedderStatus, LibraryStatus, StatusView};
use lookalike_index::Index;
use lookalike_proto::LibraryName;
use lookalike_vision::{Description, Limits};

use super::decode_limiter::DecodeLimiter;
use super::event_feed::{EventFeed, EventReader, FeedPlace};
use super::library_disk::LibraryIoPermits;
use super::query_embedders::QueryEmbedders;
use super::search_permits::SearchPermits;
use super::serving_model::{CurrentModel, ServingModel};
use super::thumbnail_cache::ThumbnailCache;
use super::upload_budget::UploadBudget;
use super::visible::libraries::VisibleLibraries;
use super::visible::model::VisibleModel;
use super::visible::watchers::VisibleWatchers;
use crate::problem::{Code, Problem};
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

/// Limits, permits and caches that all requests share. They tell nothing about a library.
pub(crate) struct SharedResources {
    pub limits: Limits,
    pub settings: Settings,
    pub upload_budget: UploadBudget,
    pub upload_settings: UploadSettings,
    pub search_permits: SearchPermits,
    pub facet_permits: SearchPermits,
    pub duplicate_permits: SearchPermits,
    /// Separate from that of thumbnails, so a search never waits for thumbnails.
    pub search_decodes: DecodeLimiter,
    pub thumbnail_decodes: DecodeLimiter,
    /// By content hash, which a request knows only from a row that it may see.
    pub thumbnail_cache: ThumbnailCache,
}

impl SharedResources {
    fn new(settings: Settings, limits: Limits, upload_settings: UploadSettings) -> Self {
        let limiter =
            || DecodeLimiter::new(settings.concurrent_decodes(), settings.max_waiting_decodes);
        Self {
            limits,
            search_permits: SearchPermits::new(settings.max_concurrent_searches, "searches"),
            facet_permits: SearchPermits::new(settings.max_concurrent_facets, "counts of values"),
            duplicate_permits: SearchPermits::new(
                settings.max_concurrent_duplicates,
                "searches for duplicates",
            ),
            upload_budget: UploadBudget::new(settings.max_buffered_bytes),
            upload_settings,
            search_decodes: limiter(),
            thumbnail_decodes: limiter(),
            thumbnail_cache: ThumbnailCache::new(settings.thumbnail_cache_bytes),
            settings,
        }
    }
}

/// [`Context`] and what the requests share, of all libraries. Only the tasks in the background get it;
/// an operation gets a [`SearchService`].
pub(crate) struct ServiceState {
    pub resources: SharedResources,
    pub model: CurrentModel,
    pub bus: Bus,
    pub libraries: BTreeMap<LibraryName, PathBuf>,
    pub disks: BTreeMap<LibraryName, LibraryIoPermits>,
    pub uploads: BTreeMap<LibraryName, LibraryUploads>,
    pub status: StatusView,
    pub event_feed: Arc<EventFeed>,
    pub saved_searches: SavedSearchStore,
    pub webhooks: WebhookSender,
    pub webhook_settings: WebhookSettings,
}

impl ServiceState {
    pub(crate) fn new(context: Context) -> Self {
        let names = context.libraries.keys();
        let permissions_of = |name| context.permissions.get(name).copied().unwrap_or_default();
        Self {
            model: CurrentModel::new(ServingModel {
                index: context.index,
                description: Arc::new(context.description),
            }),
            saved_searches: SavedSearchStore::new(context.bus.clone(), context.saved_searches),
            webhooks: WebhookSender::new(&context.webhooks),
            webhook_settings: context.webhooks,
            bus: context.bus,
            disks: names
                .clone()
                .map(|name| (name.clone(), LibraryIoPermits::new()))
                .collect(),
            uploads: names
                .map(|name| (name.clone(), LibraryUploads::new(permissions_of(name))))
                .collect(),
            libraries: context.libraries,
            status: context.status,
            event_feed: Arc::new(EventFeed::new(context.settings.max_event_readers)),
            resources: SharedResources::new(context.settings, context.limits, context.uploads),
        }
    }
}

/// The service as one request sees it: every operation works with it. It has no way around the libraries
/// that the request may see.
pub(crate) struct SearchService {
    state: Arc<ServiceState>,
    visible: VisibleLibraries,
}

/// What saved searches work with. They cover all libraries.
pub(crate) struct SavedSearchAccess<'a> {
    pub store: &'a SavedSearchStore,
    pub webhooks: &'a WebhookSender,
    pub bus: &'a Bus,
}

impl SearchService {
    pub(crate) fn new(state: Arc<ServiceState>, visible: VisibleLibraries) -> Self {
        Self { state, visible }
    }

    /// For tasks in the background, which no key limits.
    pub(crate) fn unlimited(state: &Arc<ServiceState>) -> Self {
        Self::new(Arc::clone(state), VisibleLibraries::all())
    }

    /// Returns the model in service with the visible rows of its index.
    pub(crate) fn load_model(&self) -> VisibleModel {
        VisibleModel::new(&self.state.model.load(), self.visible.clone())
    }

    pub(crate) fn rollover_error(&self) -> Option<String> {
        self.state.model.rollover_error()
    }

    /// Returns the visible libraries that are configured here, with their roots.
    pub(crate) fn configured_libraries(&self) -> impl Iterator<Item = (&LibraryName, &PathBuf)> {
        let libraries = self.state.libraries.iter();
        libraries.filter(move |(name, _)| self.visible.contains(name.as_str()))
    }

    /// Returns the root and the disk of a visible library that is configured here.
    pub(crate) fn find_root(&self, library: &LibraryName) -> Option<(&PathBuf, &LibraryIoPermits)> {
        let mut libraries = self.configured_libraries();
        let (name, root) = libraries.find(|(name, _)| *name == library)?;
        Some((root, self.state.disks.get(name)?))
    }

    /// Returns the visible libraries that are configured here, with what their uploads need.
    pub(crate) fn library_uploads(&self) -> impl Iterator<Item = (&LibraryName, &LibraryUploads)> {
        let uploads = self.state.uploads.iter();
        uploads.filter(move |(name, _)| self.visible.contains(name.as_str()))
    }

    /// Returns what uploads to a visible library that is configured here need.
    pub(crate) fn find_uploads(&self, library: &LibraryName) -> Option<&LibraryUploads> {
        let mut uploads = self.library_uploads();
        uploads.find_map(|(name, uploads)| (name == library).then_some(uploads))
    }

    /// Returns what watchers report of the visible libraries.
    pub(crate) fn library_statuses(&self) -> Vec<LibraryStatus> {
        let mut reported = self.state.status.libraries();
        reported.retain(|status| self.visible.contains(&status.name));
        reported
    }

    pub(crate) fn embedder_statuses(&self) -> Vec<EmbedderStatus> {
        self.state.status.embedders()
    }

    pub(crate) fn embedders(&self) -> QueryEmbedders<'_> {
        QueryEmbedders::new(&self.state.bus)
    }

    pub(crate) fn watchers(&self) -> VisibleWatchers<'_> {
        VisibleWatchers::new(&self.state.bus, &self.visible)
    }

    /// Starts to read the events of the visible libraries, see [`EventFeed::subscribe`].
    pub(crate) fn subscribe_events(
        &self,
        after: Option<&FeedPlace>,
    ) -> Result<EventReader, Problem> {
        let visible = self.visible.clone();
        self.state.event_feed.subscribe(after, visible)
    }

    /// # Errors
    /// If the request may not see all libraries.
    pub(crate) fn saved_searches(&self) -> Result<SavedSearchAccess<'_>, Problem> {
        if self.visible.is_limited() {
            return Err(Problem::new(
                Code::InsufficientScope,
                "this API key is limited to some libraries, and saved searches cover all of them: \
                 use a key that was created without --library",
            ));
        }
        Ok(SavedSearchAccess {
            store: &self.state.saved_searches,
            webhooks: &self.state.webhooks,
            bus: &self.state.bus,
        })
    }
}

impl Deref for SearchService {
    type Target = SharedResources;

    fn deref(&self) -> &SharedResources {
        &self.state.resources
    }
}

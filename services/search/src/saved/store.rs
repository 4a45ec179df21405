//! The saved searches, cached. Every load first asks NATS whether a search has changed, so that each
//! service sees a search from the moment on at which its creation was answered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use lookalike_bus::{Bus, Error, StoredSavedSearch, StreamPosition};

use super::record::SavedSearchRecord;
use super::settings::SavedSearchSettings;

/// A saved search as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct SavedSearch {
    pub id: String,
    pub record: SavedSearchRecord,
    pub revision: u64,
    /// In nanoseconds since 1970 by the clock of NATS.
    pub created_ns: i64,
}

impl SavedSearch {
    fn from_stored(stored: &StoredSavedSearch) -> Option<Self> {
        match SavedSearchRecord::decode(&stored.value) {
            Ok(record) => Some(Self {
                id: stored.id.clone(),
                revision: stored.revision,
                created_ns: record.created_ns.unwrap_or(stored.stored_ns),
                record,
            }),
            Err(error) => {
                tracing::error!(id = stored.id, %error, "cannot read a saved search");
                None
            }
        }
    }
}

/// All saved searches, sorted by id.
pub(crate) type SavedSearchList = Arc<[Arc<SavedSearch>]>;

pub(crate) struct SavedSearchStore {
    bus: Bus,
    pub settings: SavedSearchSettings,
    cached: tokio::sync::Mutex<Option<(StreamPosition, SavedSearchList)>>,
    /// Why a search finds nothing now, by id.
    problems: Mutex<HashMap<String, String>>,
}

impl SavedSearchStore {
    pub(crate) fn new(bus: Bus, settings: SavedSearchSettings) -> Self {
        Self {
            bus,
            settings,
            cached: tokio::sync::Mutex::default(),
            problems: Mutex::default(),
        }
    }

    /// Creates the missing buckets and the stream of matches.
    pub(crate) async fn ensure_storage(&self) -> Result<(), Error> {
        self.bus
            .ensure_saved_searches(&self.settings.bus_limits())
            .await
    }

    /// Returns all saved searches.
    pub(crate) async fn load(&self) -> Result<SavedSearchList, Error> {
        let mut cached = self.cached.lock().await;
        let position = match self.bus.saved_searches_position().await {
            Err(Error::StreamMissing) => {
                self.ensure_storage().await?;
                self.bus.saved_searches_position().await?
            }
            position => position?,
        };
        if let Some((_, list)) = cached.as_ref().filter(|(known, _)| *known == position) {
            return Ok(Arc::clone(list));
        }
        // A change after the position was read is read here, and again with the next load.
        let stored = self.bus.read_saved_searches().await?;
        let list = stored.iter().filter_map(SavedSearch::from_stored);
        let list: SavedSearchList = list.map(Arc::new).collect();
        self.problems()
            .retain(|id, _| list.iter().any(|search| search.id == *id));
        *cached = Some((position, Arc::clone(&list)));
        Ok(list)
    }

    /// Returns one saved search.
    pub(crate) async fn find(&self, id: &str) -> Result<Option<Arc<SavedSearch>>, Error> {
        let list = self.load().await?;
        Ok(list.iter().find(|search| search.id == id).cloned())
    }

    /// Stores a new search.
    ///
    /// # Errors
    /// [`Error::StreamFull`] if the searches use all the space that they may use.
    pub(crate) async fn create(&self, id: &str, record: &SavedSearchRecord) -> Result<(), Error> {
        let value = record.encode().into();
        self.bus.create_saved_search(id, value).await
    }

    /// Stores a search with another vector, unless another service has changed or deleted it.
    pub(crate) async fn replace_record(
        &self,
        search: &SavedSearch,
        record: SavedSearchRecord,
    ) -> Result<bool, Error> {
        let record = SavedSearchRecord {
            created_ns: Some(search.created_ns),
            ..record
        };
        let value = record.encode().into();
        self.bus
            .update_saved_search(&search.id, value, search.revision)
            .await
    }

    pub(crate) async fn delete(&self, id: &str) -> Result<(), Error> {
        self.bus.delete_saved_search(id).await
    }

    /// Records why a search finds nothing now, or that it works.
    pub(crate) fn set_problem(&self, id: &str, problem: Option<String>) {
        match problem {
            Some(problem) => {
                let known = self.problems().insert(id.to_owned(), problem.clone());
                if known.as_ref() != Some(&problem) {
                    tracing::warn!(id, "a saved search finds nothing now: {problem}");
                }
            }
            None => {
                self.problems().remove(id);
            }
        }
    }

    pub(crate) fn problem_of(&self, id: &str) -> Option<String> {
        self.problems().get(id).cloned()
    }

    fn problems(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The audit: is the index what the folders are? It compares what the watchers' catalogs know
//! with every row of Milvus, by id, path, hash and generation, and has put right what differs.
//!
//! Both sides are read in the order of ids, a page at a time, and joined. What differs at first
//! sight is only suspected: files change meanwhile. A suspect is looked at again after a moment,
//! in the order catalog, rows, catalog; where the catalog says the same twice and nothing is
//! under way, the rows between must fit it, and what does not is a difference.
//!
//! What the catalog knows is repaired by its watcher, which sends the image again with a new
//! generation: so all writes of one image stay one after another, and an upsert also removes
//! doubled rows. Only rows that no watcher knows are deleted here. Whoever dies in the midst
//! leaves no more than the next audit finds.
//!
//! The catalog is trusted to know its folder: a scan may be asked for first, and a deep audit
//! also hashes every file.

mod catalogs;
mod deep;
mod judge;
mod pass;
mod periodic;
mod report;
mod settings;

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use lookalike_bus::{
    Bus, Error as BusError, LibraryStatus, StatusView, WatcherReply, WatcherRequest,
};
use lookalike_chassis::Backoff;
use lookalike_index::{Error as IndexError, Index};
use lookalike_proto::LibraryName;

pub use judge::DifferenceKind;
pub use report::{AuditReport, Difference, LibraryReport};
pub use settings::Settings;

pub(crate) use periodic::run_periodic_audit;

/// How often a watcher or a server that does not answer is asked.
const MAX_ATTEMPTS: u32 = 5;

/// What an audit is to do.
#[derive(Debug, Clone, Default)]
pub struct AuditOptions {
    /// Only these libraries; none: every one that a watcher speaks for.
    pub libraries: Vec<LibraryName>,
    /// Put right what differs.
    pub repair: bool,
    /// Also read and hash every file, where its folder can be reached from here.
    pub deep: bool,
    /// First let the watchers compare their folders with their catalogs.
    pub scan: bool,
}

/// What an audit is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditStage {
    /// The watchers compare so many folders with their catalogs.
    Scanning(usize),
    /// So many images were compared, of about so many.
    Comparing(u64, u64),
}

/// Why an audit could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody speaks for a library that was named.
    #[error(
        "no watcher speaks for library {0}: is it running, and is that the library's name? `lookalike status` lists them"
    )]
    NotWatched(LibraryName),
    /// Nobody speaks for any library.
    #[error("no watcher speaks for any library: is `lookalike up` or `lookalike watch` running?")]
    NothingWatched,
    /// A watcher does not answer.
    #[error("the watcher of library {library} does not answer: {source}")]
    Watcher {
        /// The library.
        library: LibraryName,
        /// Why.
        source: BusError,
    },
    /// A watcher answers something else.
    #[error("the watcher of library {library} refuses: {reason}")]
    Refused {
        /// The library.
        library: LibraryName,
        /// Its words.
        reason: String,
    },
    /// A folder takes longer to compare than may be waited for.
    #[error(
        "the watcher of library {0} is still comparing its folder with its catalog: try again later, or raise audit.scan_timeout"
    )]
    ScanTimeout(LibraryName),
    /// The index can't be read or written.
    #[error("the index can't be audited now: {0}")]
    Index(#[from] IndexError),
}

/// A library, as its watcher speaks of it.
type WatchedLibrary = (LibraryName, LibraryStatus);

/// Compares, and repairs. It remembers what it tried, so keep it from one audit to the next.
pub struct Auditor {
    bus: Bus,
    index: Index,
    status: StatusView,
    settings: Settings,
    /// Doubled ids that were sent again: where one still is doubled, its rows are deleted first.
    resent_duplicates: Mutex<HashSet<String>>,
}

impl Auditor {
    /// An auditor that speaks to the watchers over `bus`, and knows them from `shop_status`.
    pub fn new(bus: Bus, index: Index, status: StatusView, settings: Settings) -> Self {
        Self {
            bus,
            index,
            status,
            settings,
            resent_duplicates: Mutex::default(),
        }
    }

    /// One audit. `on_stage` hears how far it is.
    ///
    /// # Errors
    /// Why it could not be finished. What was repaired by then stays repaired.
    pub async fn run(
        &self,
        options: &AuditOptions,
        on_stage: &(dyn Fn(AuditStage) + Send + Sync),
    ) -> Result<AuditReport, Error> {
        let started = std::time::Instant::now();
        let (libraries, others) = self.select_libraries(options)?;
        let mut unreachable = Vec::new();
        if options.scan {
            on_stage(AuditStage::Scanning(libraries.len()));
            unreachable = self.scan_libraries(&libraries).await;
        }
        let mut pass = pass::AuditPass::new(self, options, libraries, others)?;
        for (library, why) in unreachable {
            pass.exclude_library(&library, why);
        }
        let mut report = pass.run(on_stage).await?;
        report.seconds = started.elapsed().as_secs_f64();
        Ok(report)
    }

    /// The libraries that are meant, as their watchers speak of them, and all others.
    fn select_libraries(
        &self,
        options: &AuditOptions,
    ) -> Result<(Vec<WatchedLibrary>, Vec<WatchedLibrary>), Error> {
        let watched: Vec<WatchedLibrary> = self
            .status
            .libraries()
            .into_iter()
            .filter_map(|status| Some((LibraryName::new(&status.name).ok()?, status)))
            .collect();
        for wanted in &options.libraries {
            if !watched.iter().any(|(library, _)| library == wanted) {
                return Err(Error::NotWatched(wanted.clone()));
            }
        }
        if watched.is_empty() {
            return Err(Error::NothingWatched);
        }
        let is_meant = |(library, _): &WatchedLibrary| {
            options.libraries.is_empty() || options.libraries.contains(library)
        };
        Ok(watched.into_iter().partition(is_meant))
    }

    /// Lets every folder be compared with its catalog, and waits for that; whose watcher did not
    /// do it, and why.
    async fn scan_libraries(&self, libraries: &[WatchedLibrary]) -> Vec<(LibraryName, Error)> {
        let mut scanning = Vec::new();
        let mut unreachable = Vec::new();
        for (library, _) in libraries {
            match self.request_watcher(library, &WatcherRequest::Scan).await {
                Ok(_) => scanning.push(library.clone()),
                Err(error) => unreachable.push((library.clone(), error)),
            }
        }
        let deadline = tokio::time::Instant::now() + self.settings.scan_timeout;
        for library in scanning {
            if let Err(error) = self.wait_for_scan(&library, deadline).await {
                unreachable.push((library, error));
            }
        }
        unreachable
    }

    /// Waits until a folder was compared with its catalog.
    async fn wait_for_scan(
        &self,
        library: &LibraryName,
        deadline: tokio::time::Instant,
    ) -> Result<(), Error> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        let nothing = WatcherRequest::CatalogImages { ids: Vec::new() };
        while let WatcherReply::CatalogPage(page) = self.request_watcher(library, &nothing).await?
            && page.scanning
        {
            if tokio::time::Instant::now() > deadline {
                return Err(Error::ScanTimeout(library.clone()));
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
        Ok(())
    }

    /// Asks a library's watcher, a few times where it does not answer or refuses: one that was
    /// restarted, or whose library another one takes over, is silent or unsure for a moment.
    async fn request_watcher(
        &self,
        library: &LibraryName,
        question: &WatcherRequest,
    ) -> Result<WatcherReply, Error> {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        loop {
            let asked = (library.clone(), question.clone());
            let library = library.clone();
            let error = match self.bus.request_watcher(asked).await {
                Ok(WatcherReply::Refused(reason)) => Error::Refused { library, reason },
                Ok(answer) => return Ok(answer),
                Err(source) => Error::Watcher { library, source },
            };
            if backoff.attempts() + 1 >= MAX_ATTEMPTS {
                return Err(error);
            }
            tracing::debug!(%error, "asking again");
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }
}

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
    Bus, Error as BusError, LibraryStatus, StatusView, WatcherAnswer, WatcherQuestion,
};
use lookalike_chassis::Backoff;
use lookalike_index::{Error as IndexError, Index};
use lookalike_proto::Library;

pub use judge::Kind;
pub use report::{Difference, LibraryReport, Report};
pub use settings::Settings;

pub(crate) use periodic::keep_equal;

/// How often a watcher or a server that does not answer is asked.
const TRIES: u32 = 5;

/// What an audit is to do.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only these libraries; none: every one that a watcher speaks for.
    pub libraries: Vec<Library>,
    /// Put right what differs.
    pub repair: bool,
    /// Also read and hash every file, where its folder can be reached from here.
    pub deep: bool,
    /// First let the watchers compare their folders with their catalogs.
    pub scan: bool,
}

/// What an audit is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
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
    NotWatched(Library),
    /// Nobody speaks for any library.
    #[error("no watcher speaks for any library: is `lookalike up` or `lookalike watch` running?")]
    NothingWatched,
    /// A watcher does not answer.
    #[error("the watcher of library {library} does not answer: {source}")]
    Watcher {
        /// The library.
        library: Library,
        /// Why.
        source: BusError,
    },
    /// A watcher answers something else.
    #[error("the watcher of library {library} refuses: {reason}")]
    Refused {
        /// The library.
        library: Library,
        /// Its words.
        reason: String,
    },
    /// A folder takes longer to compare than may be waited for.
    #[error(
        "the watcher of library {0} is still comparing its folder with its catalog: try again later, or raise audit.scan_timeout"
    )]
    Scan(Library),
    /// The index can't be read or written.
    #[error("the index can't be audited now: {0}")]
    Index(#[from] IndexError),
}

/// A library, as its watcher speaks of it.
type Watched = (Library, LibraryStatus);

/// Compares, and repairs. It remembers what it tried, so keep it from one audit to the next.
pub struct Auditor {
    bus: Bus,
    index: Index,
    status: StatusView,
    settings: Settings,
    /// Doubled ids that were sent again: where one still is doubled, its rows are deleted first.
    sent_for_doubles: Mutex<HashSet<String>>,
}

impl Auditor {
    /// An auditor that speaks to the watchers over `bus`, and knows them from `status`.
    pub fn new(bus: Bus, index: Index, status: StatusView, settings: Settings) -> Self {
        Self {
            bus,
            index,
            status,
            settings,
            sent_for_doubles: Mutex::default(),
        }
    }

    /// One audit. `tell` hears how far it is.
    ///
    /// # Errors
    /// Why it could not be finished. What was repaired by then stays repaired.
    pub async fn run(
        &self,
        options: &Options,
        tell: &(dyn Fn(Stage) + Send + Sync),
    ) -> Result<Report, Error> {
        let begun = std::time::Instant::now();
        let (libraries, others) = self.libraries(options)?;
        let mut silent = Vec::new();
        if options.scan {
            tell(Stage::Scanning(libraries.len()));
            silent = self.scan(&libraries).await;
        }
        let mut pass = pass::Pass::new(self, options, libraries, others)?;
        for (library, why) in silent {
            pass.leave_out(&library, why);
        }
        let mut report = pass.run(tell).await?;
        report.seconds = begun.elapsed().as_secs_f64();
        Ok(report)
    }

    /// The libraries that are meant, as their watchers speak of them, and all others.
    fn libraries(&self, options: &Options) -> Result<(Vec<Watched>, Vec<Watched>), Error> {
        let watched: Vec<Watched> = self
            .status
            .libraries()
            .into_iter()
            .filter_map(|status| Some((Library::new(&status.name).ok()?, status)))
            .collect();
        for wanted in &options.libraries {
            if !watched.iter().any(|(library, _)| library == wanted) {
                return Err(Error::NotWatched(wanted.clone()));
            }
        }
        if watched.is_empty() {
            return Err(Error::NothingWatched);
        }
        let is_meant = |(library, _): &Watched| {
            options.libraries.is_empty() || options.libraries.contains(library)
        };
        Ok(watched.into_iter().partition(is_meant))
    }

    /// Lets every folder be compared with its catalog, and waits for that; whose watcher did not
    /// do it, and why.
    async fn scan(&self, libraries: &[Watched]) -> Vec<(Library, Error)> {
        let mut scanning = Vec::new();
        let mut silent = Vec::new();
        for (library, _) in libraries {
            match self.ask(library, &WatcherQuestion::Scan).await {
                Ok(_) => scanning.push(library.clone()),
                Err(error) => silent.push((library.clone(), error)),
            }
        }
        let deadline = tokio::time::Instant::now() + self.settings.scan_timeout;
        for library in scanning {
            if let Err(error) = self.scanned(&library, deadline).await {
                silent.push((library, error));
            }
        }
        silent
    }

    /// Waits until a folder was compared with its catalog.
    async fn scanned(
        &self,
        library: &Library,
        deadline: tokio::time::Instant,
    ) -> Result<(), Error> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        let nothing = WatcherQuestion::KnownOf { ids: Vec::new() };
        while let WatcherAnswer::Known(page) = self.ask(library, &nothing).await?
            && page.scanning
        {
            if tokio::time::Instant::now() > deadline {
                return Err(Error::Scan(library.clone()));
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
        Ok(())
    }

    /// Asks a library's watcher, a few times where it does not answer or refuses: one that was
    /// restarted, or whose library another one takes over, is silent or unsure for a moment.
    async fn ask(
        &self,
        library: &Library,
        question: &WatcherQuestion,
    ) -> Result<WatcherAnswer, Error> {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        loop {
            let asked = (library.clone(), question.clone());
            let library = library.clone();
            let error = match self.bus.ask_watcher(asked).await {
                Ok(WatcherAnswer::Refused(reason)) => Error::Refused { library, reason },
                Ok(answer) => return Ok(answer),
                Err(source) => Error::Watcher { library, source },
            };
            if backoff.tries() + 1 >= TRIES {
                return Err(error);
            }
            tracing::debug!(%error, "asking again");
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }
}

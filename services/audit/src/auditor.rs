//! Runs one audit over the selected libraries.

use std::sync::Mutex;
use std::time::Instant;

use lookalike_bus::{Bus, StatusView};
use lookalike_index::Index;
use lookalike_proto::LibraryName;

use crate::context::{AuditContext, AuditOptions, AuditStage};
use crate::error::Error;
use crate::pass::AuditPass;
use crate::report::AuditReport;
use crate::settings::Settings;
use crate::watcher_client::{WatchedLibrary, WatcherClient};

/// Runs audits. It remembers repairs that did not help, so keep it from one audit to the next.
pub struct Auditor {
    pub(crate) context: AuditContext,
    pub(crate) status: StatusView,
}

impl Auditor {
    /// Creates an auditor that finds the watchers through `status` and sends requests over `bus`.
    pub fn new(bus: Bus, index: Index, status: StatusView, settings: Settings) -> Self {
        let context = AuditContext {
            watchers: WatcherClient::new(bus),
            index,
            settings,
            resent_duplicates: Mutex::default(),
        };
        Self { context, status }
    }

    /// Runs one audit and reports each step to `on_stage`.
    ///
    /// # Errors
    /// The reason for which the audit could not be finished. Repairs done by then remain.
    pub async fn run(
        &self,
        options: &AuditOptions,
        on_stage: &(dyn Fn(AuditStage) + Send + Sync),
    ) -> Result<AuditReport, Error> {
        let started = Instant::now();
        let (libraries, others) = self.select_libraries(options)?;
        let mut failed_scans = Vec::new();
        if options.scan {
            on_stage(AuditStage::Scanning(libraries.len()));
            let timeout = self.context.settings.scan_timeout;
            let scans = self.context.watchers.scan_libraries(&libraries, timeout);
            failed_scans = scans.await;
        }
        let mut pass = AuditPass::new(&self.context, options, libraries, others)?;
        for (library, error) in failed_scans {
            pass.exclude_library(&library, error);
        }
        let mut report = pass.run(on_stage).await?;
        report.seconds = started.elapsed().as_secs_f64();
        Ok(report)
    }

    /// Splits the watched libraries into those to audit and all others.
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
        let is_selected = |(library, _): &WatchedLibrary| {
            options.libraries.is_empty() || options.libraries.contains(library)
        };
        Ok(watched.into_iter().partition(is_selected))
    }
}

//! What the steps of a rollover share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, anyhow};
use lookalike_bus::{Bus, StatusView};
use lookalike_client::audit::wait_for_status_reports;
use lookalike_client::usage_error;
use lookalike_index::{Collection, Collections};
use lookalike_proto::LibraryName;

use super::progress_output::RolloverProgress;
use crate::cli::ModelsUseArgs;
use crate::libraries::expand_home;
use crate::settings::Settings;

pub(super) struct RolloverSession<'a> {
    /// Without `vision.model`, so that the model in service is the one of the collection.
    pub(super) settings: Settings,
    pub(super) args: &'a ModelsUseArgs,
    pub(super) bus: Bus,
    pub(super) status: StatusView,
    pub(super) collections: Collections,
    pub(super) progress: RolloverProgress,
    /// `vision.model` as the user set it.
    pub(super) configured_model: String,
    /// Whether searches are affected, or a collection was deleted.
    has_taken_effect: AtomicBool,
}

impl<'a> RolloverSession<'a> {
    pub(super) fn new(
        mut settings: Settings,
        args: &'a ModelsUseArgs,
        bus: Bus,
        status: StatusView,
        collections: Collections,
    ) -> Self {
        let configured_model = std::mem::take(&mut settings.vision.model);
        Self {
            settings,
            args,
            bus,
            status,
            collections,
            progress: RolloverProgress::new(args.json),
            configured_model,
            has_taken_effect: AtomicBool::new(false),
        }
    }

    /// Records that an interruption can no longer leave everything as it was.
    pub(super) fn mark_as_effective(&self) {
        self.has_taken_effect.store(true, Ordering::Relaxed);
    }

    /// The error of a command that was interrupted by a signal.
    pub(super) fn interrupted_error(&self) -> anyhow::Error {
        anyhow!(match self.has_taken_effect.load(Ordering::Relaxed) {
            false => {
                "stopped: nothing has changed for searches; run the same command again to resume \
                 the copy"
            }
            true if self.args.drop_old => {
                "stopped: run the same command again to delete the remaining collections"
            }
            true => {
                "stopped: the other model is already in service, and the roles switch to it \
                 automatically; `lookalike audit` compares the index with the folders"
            }
        })
    }

    pub(super) async fn put_in_service(&self, collection: &str) -> Result<()> {
        // Marked first: a request that is interrupted may still have been executed.
        self.mark_as_effective();
        let moved = self.collections.put_in_service(collection).await;
        moved.with_context(|| format!("cannot put {collection} in service"))
    }

    pub(super) async fn collection_in_service(&self) -> Result<Collection> {
        self.collections.in_service().await?.ok_or_else(|| {
            usage_error(anyhow!(
                "there is no index yet to migrate from: start with `lookalike up --model NAME`"
            ))
        })
    }

    /// The library roots on this machine: as the settings name them, otherwise as the watchers
    /// report them.
    pub(super) async fn local_libraries(&self) -> BTreeMap<LibraryName, PathBuf> {
        wait_for_status_reports(&self.status, &[]).await;
        let reported = self.status.libraries().into_iter();
        let reported = reported.map(|library| (library.name, PathBuf::from(library.root)));
        let configured = self.settings.library_folders().into_iter();
        let configured = configured.map(|(name, root)| (name, expand_home(&root)));
        reported
            .chain(configured)
            .filter(|(_, root)| root.is_dir())
            .filter_map(|(name, root)| Some((LibraryName::new(&name).ok()?, root)))
            .collect()
    }
}

//! `models use`: another model, while searches go on.
//!
//! In this order: fill a second collection with the new model's vectors, in passes, until little
//! differs; compare the two on the user's own pictures; ask; catch up once more; move the alias.
//! From that moment on the roles follow by themselves, and an audit brings in what changed
//! meanwhile. Everything before the alias can be done again from the start, and finds what is done
//! done; everything after it is what the roles do at any start. So this may die at any point.

mod asking;
mod compare;
mod following;
mod sheet;
mod told;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lookalike_bus::{Bus, Lease, StatusView};
use lookalike_chassis::leave;
use lookalike_embedder::switch::{CollectionCopy, CopyContext, CopyPass};
use lookalike_index::{Collection, Collections, Index};
use lookalike_proto::LibraryName;
use lookalike_vision::Limits;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::audit;
use crate::cli::ModelsUseArgs;
use crate::client;
use crate::failure::Failure;
use crate::libraries::expand_home;
use crate::model::{self, model_identity};
use crate::roles::{self, failed_chain};
use crate::settings::Settings;
use crate::shown;

use compare::ModelComparison;
use told::RolloverProgress;

/// Passes at most before the change, and after the question.
const MAX_PASSES: u32 = 12;

/// What a pass may have changed for the next one to be short enough: so many rows, or this part of
/// all.
const STABLE_MAX_ROWS: u64 = 50;
const STABLE_ROWS_DIVISOR: u64 = 100;

/// `models use`.
///
/// # Errors
/// Whatever keeps it from its end; doing it again goes on where it was.
pub async fn run_models_use(settings: &Settings, args: &ModelsUseArgs) -> Result<(), Failure> {
    if let Some(path) = &args.sheet {
        sheet::check_sheet_path(path)?;
    }
    let mut settings = audit::locate_servers(settings)?;
    let configured = std::mem::take(&mut settings.vision.model);
    let (bus, collections) = tokio::try_join!(roles::open_bus(&settings, "models use"), async {
        Collections::open(&settings.milvus)
            .await
            .map_err(failed_chain)
    })?;
    let leave = leave::cancel_on_signal().map_err(Failure::failed)?;
    let ended = CancellationToken::new();
    let command = RolloverCommand {
        status: bus.watch_status(ended.clone()),
        progress: RolloverProgress::new(args.json),
        settings,
        args,
        bus,
        collections,
        configured_model: configured,
        has_taken_effect: AtomicBool::new(false),
    };
    let mut lease = None;
    let work = async {
        lease = Some(command.take_rollover_lease(&ended).await?);
        match &args.model {
            Some(model) => command.roll_over_to(model).await,
            None if args.rollback => command.roll_back().await,
            None => command.drop_old_collections().await,
        }
    };
    let done = tokio::select! {
        done = work => done,
        () = leave.cancelled() => Err(command.interrupted_failure()),
    };
    command.progress.clear_bar();
    // The next one need not wait for the end of this one's claim.
    ended.cancel();
    if let Some(lease) = lease {
        let _ = tokio::time::timeout(Duration::from_secs(2), lease).await;
    }
    command.bus.close().await;
    done
}

struct RolloverCommand<'a> {
    settings: Settings,
    args: &'a ModelsUseArgs,
    bus: Bus,
    status: StatusView,
    collections: Collections,
    progress: RolloverProgress,
    /// The model that the settings name.
    configured_model: String,
    /// Whether something has changed for searches, or was deleted.
    has_taken_effect: AtomicBool,
}

/// What is in service, and where it was found.
struct ShadowCopy {
    new: Index,
    copy: CollectionCopy,
    libraries: BTreeMap<LibraryName, PathBuf>,
}

impl RolloverCommand<'_> {
    /// One of these commands works at a time. Where another one was killed, its claim ends soon.
    async fn take_rollover_lease(
        &self,
        ended: &CancellationToken,
    ) -> Result<tokio::task::JoinHandle<()>, Failure> {
        let holder = format!(
            "{}-{}",
            std::process::id(),
            lookalike_chassis::clock::now_nanos()
        );
        let wait = self.settings.nats.lease_timeout + Duration::from_secs(3);
        let until = Instant::now() + wait;
        let mut said = false;
        let lease = loop {
            let taken = self.bus.acquire_lease("switch", &holder).await;
            match taken.map_err(failed_chain)? {
                Some(lease) => break lease,
                None if Instant::now() > until => {
                    return Err(Failure::failed(
                        "another `models use` is at work on this index: wait for its end",
                    ));
                }
                None => {
                    if !std::mem::replace(&mut said, true) {
                        self.progress.print_line(&format!(
                            "waiting for another `models use` to end, or for a killed one's claim \
                             to run out ({} s at most)",
                            wait.as_secs()
                        ));
                    }
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
            }
        };
        Ok(tokio::spawn(renew_until_cancelled(lease, ended.clone())))
    }

    /// Why it ends when it is asked to.
    fn interrupted_failure(&self) -> Failure {
        Failure::failed(match self.has_taken_effect.load(Ordering::Relaxed) {
            false => {
                "stopped: nothing has changed for searches; the same command goes on where it is now"
            }
            true if self.args.drop_old => "stopped: the same command deletes what is left",
            true => {
                "stopped: the other model is in service already, and the roles follow by \
                 themselves; `lookalike audit` compares the index with the folders"
            }
        })
    }

    /// Puts a collection in service.
    async fn put_in_service(&self, name: &str) -> Result<(), Failure> {
        // Before it is known: a request that is cut off may have arrived.
        self.has_taken_effect.store(true, Ordering::Relaxed);
        let flipped = self.collections.put_in_service(name).await;
        flipped.map_err(failed_chain)
    }

    async fn collection_in_service(&self) -> Result<Collection, Failure> {
        let found = self.collections.in_service().await.map_err(failed_chain)?;
        found.ok_or_else(|| {
            Failure::usage(
                "there is no index yet, so that there is nothing to go over from: start with \
                 `lookalike up --model NAME`",
            )
        })
    }

    async fn roll_over_to(&self, name: &str) -> Result<(), Failure> {
        let current = self.collection_in_service().await?;
        let named = model::find_model(&self.settings, name).await?;
        let description = named.load_description()?;
        let wanted = model_identity(&description);
        if current.model == wanted {
            self.progress
                .print_line(&format!("{} is in service", wanted.name));
            self.has_taken_effect.store(true, Ordering::Relaxed);
            let origin = named.to_model_source(&description)?;
            model::record_model_source(&self.collections, &current.name, &origin).await;
            let report = json!({
                "model": wanted.name,
                "collection": current.name,
                "activated": false,
            });
            return self.finish_rollover(&current.name, report).await;
        }
        let engine = named.start_engine(&self.settings).await?;
        let origin = named.to_model_source(&description)?;
        self.progress.print_line(&format!(
            "going over from {} to {}",
            current.model.name,
            engine.device_line()
        ));
        let milvus = &self.settings.milvus;
        let old = Index::open(milvus, &current.model)
            .await
            .map_err(failed_chain)?;
        let new = Index::open_shadow(milvus, &wanted, &origin)
            .await
            .map_err(failed_chain)?;
        // It may have been begun with the model's folder elsewhere.
        model::record_model_source(&self.collections, &new.collection(), &origin).await;
        let libraries = self.local_libraries().await;
        let filled = ShadowCopy {
            copy: CollectionCopy::new(CopyContext {
                old: old.clone(),
                new: new.clone(),
                engine,
                limits: Limits::from(&self.settings.vision),
                decode_threads: self.settings.vision.decode_threads(),
                libraries: libraries.clone(),
                settings: self.settings.embed.clone(),
            }),
            new,
            libraries,
        };
        let last = self.copy_until_stable(&filled, 2).await?;
        self.report_incomplete(&last);
        let (compared, sheet) = self.compare_and_write_sheet(&old, &filled, &last).await?;
        let mut report = json!({
            "model": wanted.name,
            "collection": &*filled.new.collection(),
            "before": {"model": current.model.name, "collection": current.name},
            "rows": last.rows,
            "left": last.skipped,
            "compared": compared.to_json(),
            "sheet": sheet.map(|path| path.display().to_string()),
        });
        if !self.confirm_rollover(&compared).await? {
            report["activated"] = false.into();
            report["needs_yes"] = (!self.can_prompt()).into();
            if self.args.json {
                client::print_json(&report);
            }
            return Ok(());
        }
        // The question may have waited for long.
        self.copy_until_stable(&filled, 1).await?;
        let name = filled.new.collection();
        self.put_in_service(&name).await?;
        self.progress.print_line(&format!(
            "{} is in service now; {} is kept for `lookalike models use --rollback`",
            wanted.name, current.name
        ));
        self.finish_rollover(&name, report).await
    }

    /// Where the libraries are on this machine: where the settings say, else where their watchers
    /// say.
    async fn local_libraries(&self) -> BTreeMap<LibraryName, PathBuf> {
        audit::wait_for_status_reports(&self.status, &[]).await;
        let told = self.status.libraries().into_iter();
        let told = told.map(|library| (library.name, PathBuf::from(library.root)));
        let named = self.settings.libraries.iter();
        let named = named.map(|(name, root)| (name.clone(), expand_home(root)));
        told.chain(named)
            .filter(|(_, root)| root.is_dir())
            .filter_map(|(name, root)| Some((LibraryName::new(&name).ok()?, root)))
            .collect()
    }

    /// Passes, `least` or more, until little changes any more.
    async fn copy_until_stable(
        &self,
        filled: &ShadowCopy,
        least: u32,
    ) -> Result<CopyPass, Failure> {
        let mut number = 0;
        loop {
            number += 1;
            let of = self.count_rows_in_service().await;
            let begun = Instant::now();
            let tell = |pass: &CopyPass| self.progress.show_pass(pass, of, begun);
            let sample = usize::from(self.args.sample);
            let pass = filled
                .copy
                .run_pass(sample, &tell)
                .await
                .map_err(failed_chain)?;
            // Looking again without finding anything is no news.
            if pass.changed_rows() > 0 || (number == 1 && least > 1) {
                self.progress.print_pass_result(&pass, begun);
            }
            if number >= least
                && pass.changed_rows() <= STABLE_MAX_ROWS.max(pass.rows / STABLE_ROWS_DIVISOR)
            {
                return Ok(pass);
            }
            if number >= MAX_PASSES {
                return Err(Failure::failed(
                    "the pictures change faster than they can be embedded: try again when less \
                     happens in the folders; what is done stays done",
                ));
            }
        }
    }

    async fn count_rows_in_service(&self) -> u64 {
        match self.collections.name_in_service().await {
            Ok(Some(name)) => self.collections.count_rows(&name).await.unwrap_or(0),
            _ => 0,
        }
    }

    fn report_incomplete(&self, pass: &CopyPass) {
        if pass.skipped == 0 {
            return;
        }
        self.progress.print_line(&format!(
            "{} of {} pictures have no vector of the new model yet, because their files can't be \
             read here, or changed. Those of watched libraries are sent again after the change:",
            pass.skipped, pass.rows
        ));
        for (library, path, why) in &pass.skipped_files {
            let line = format!("  {library}/{path}: {why}");
            self.progress.print_line(&shown::escape_line(&line));
        }
    }

    async fn compare_and_write_sheet(
        &self,
        old: &Index,
        filled: &ShadowCopy,
        last: &CopyPass,
    ) -> Result<(ModelComparison, Option<PathBuf>), Failure> {
        self.progress
            .print_line("comparing the two on your own pictures");
        let compared = compare::compare_models(old, &filled.new, &last.sample).await;
        let compared = compared.map_err(failed_chain)?;
        for line in compared.summary_lines() {
            self.progress.print_line(&line);
        }
        if compared.images.is_empty() {
            return Ok((compared, None));
        }
        let path = match &self.args.sheet {
            Some(path) => path.clone(),
            None => self.settings.data_dir()?.join("models-use.html"),
        };
        let limits = Limits::from(&self.settings.vision);
        let models = [&old.model().name, &filled.new.model().name].map(String::as_str);
        let page = sheet::build_sheet(models, &compared, &filled.libraries, &limits).await;
        if self.args.sheet.is_none()
            && let Some(folder) = path.parent()
        {
            let _ = std::fs::create_dir_all(folder);
        }
        std::fs::write(&path, page).map_err(|error| {
            Failure::failed(format!(
                "the sheet can't be written to {}: {error}; name another file with --sheet",
                path.display()
            ))
        })?;
        self.progress.print_line(&format!(
            "where they differ most, in pictures: {}",
            path.display()
        ));
        Ok((compared, Some(path)))
    }

    fn can_prompt(&self) -> bool {
        asking::is_terminal() && !self.args.json
    }

    async fn confirm_rollover(&self, compared: &ModelComparison) -> Result<bool, Failure> {
        if self.args.yes {
            return Ok(true);
        }
        if !self.can_prompt() {
            self.progress.print_even_with_json(
                "the copy is ready, and nobody can be asked here: the same command with --yes goes \
                 over; nothing has changed for searches",
            );
            return Ok(false);
        }
        self.progress.clear_bar();
        let question = format!(
            "Go over, with {:.0} % of the neighbours in common?",
            compared.shared_fraction() * 100.0
        );
        let agreed = asking::ask_yes_no(&question).await?;
        if !agreed {
            self.progress.print_line(
                "nothing has changed for searches. The same command goes on where it is now; \
                 `lookalike models use --drop-old` removes the copy",
            );
        }
        Ok(agreed)
    }

    async fn roll_back(&self) -> Result<(), Failure> {
        let current = self.collection_in_service().await?;
        let previous = self.collections.previous().await.map_err(failed_chain)?;
        let previous = previous.ok_or_else(|| {
            Failure::usage(format!(
                "there is nothing to go back to: {} is in service, and no collection was before it",
                current.model.name
            ))
        })?;
        if let Err(why) = model::verify_obtainable(&self.settings, &previous).await {
            return Err(Failure::usage(format!(
                "{} can't be gone back to, because nobody could work with it: {why}. Nothing has \
                 changed",
                previous.model.name
            )));
        }
        // It must be able to answer before anything asks it.
        let index = Index::open_shadow(
            &self.settings.milvus,
            &previous.model,
            &previous.model_source,
        );
        let index = index.await.map_err(failed_chain)?;
        index.check_ready().await.map_err(failed_chain)?;
        self.put_in_service(&previous.name).await?;
        self.progress.print_line(&format!(
            "{} is in service again; {} is kept for `lookalike models use --rollback`",
            previous.model.name, current.name
        ));
        let report = json!({
            "model": previous.model.name,
            "collection": previous.name,
            "before": {"model": current.model.name, "collection": current.name},
        });
        self.finish_rollover(&previous.name, report).await
    }

    async fn drop_old_collections(&self) -> Result<(), Failure> {
        let current = self.collection_in_service().await?;
        let mut all = self.collections.list_all().await.map_err(failed_chain)?;
        all.retain(|collection| collection.name != current.name);
        audit::wait_for_status_reports(&self.status, &[]).await;
        let mut dropped = Vec::new();
        for old in &all {
            let rows = self.collections.count_rows(&old.name).await;
            let rows = rows.map_or("an unknown number of".to_owned(), |rows| rows.to_string());
            let told = self.status.embedders();
            if told.iter().any(|embedder| embedder.collection == old.name) {
                return Err(Failure::failed(format!(
                    "an embedder still works for {} ({}), because it could not follow: its log \
                     says why",
                    old.name, old.model.name
                )));
            }
            self.progress
                .print_line(&format!("{}: {rows} rows of {}", old.name, old.model.name));
            dropped.push(json!({"collection": old.name, "model": old.model.name}));
        }
        let may = all.is_empty() || self.args.yes;
        if !may && !self.can_prompt() {
            if self.args.json {
                client::print_json(&json!({
                    "dropped": [],
                    "needs_yes": true,
                    "would_drop": dropped,
                }));
            }
            return Err(Failure::usage(
                "nothing is deleted: nobody can be asked here, so add --yes",
            ));
        }
        const QUESTION: &str = "Delete them? There is no way back to their models then.";
        let may = may || asking::ask_yes_no(QUESTION).await?;
        if may {
            self.has_taken_effect
                .store(!all.is_empty(), Ordering::Relaxed);
            for old in &all {
                self.collections
                    .remove_collection(&old.name)
                    .await
                    .map_err(failed_chain)?;
            }
            self.progress.print_line(match all.is_empty() {
                true => "there is nothing but what is in service",
                false => "deleted",
            });
        }
        if self.args.json {
            client::print_json(&json!({"dropped": if may { dropped } else { Vec::new() }}));
        }
        Ok(())
    }

    /// Waits until the roles have followed, and proves that the index equals the folders.
    async fn finish_rollover(&self, name: &str, mut report: Value) -> Result<(), Failure> {
        if !self.configured_model.is_empty() {
            self.progress.print_line(&format!(
                "your settings name the model {:?} (vision.model): take that out, or roles that are \
                 started anew refuse the index of another model",
                self.configured_model
            ));
        }
        if report["activated"].is_null() {
            report["activated"] = true.into();
        }
        if let Err(failure) = self.wait_for_embedders(name).await {
            if self.args.json {
                report["roles_followed"] = false.into();
                client::print_json(&report);
            }
            return Err(failure);
        }
        self.wait_for_service().await;
        let args = self.args.to_audit_args();
        self.progress
            .print_line("comparing the index with the folders");
        let audited = audit::audit_until_equal(&self.settings, &args).await?;
        if self.args.json {
            report["audit"] = audited.to_json();
            client::print_json(&report);
        } else {
            audited.print_summary(&args);
        }
        audited.check_equal(&args)
    }
}

/// Renews a lease until `ended`, and gives it up.
async fn renew_until_cancelled(mut lease: Lease, ended: CancellationToken) {
    loop {
        let wait = tokio::time::sleep(lease.term() / 3);
        if ended.run_until_cancelled(wait).await.is_none() {
            return lease.release_lease().await;
        }
        if let Ok(false) = lease.renew_lease().await {
            // Doing it twice is harmless.
            tracing::debug!("another `models use` may have begun");
            return;
        }
    }
}

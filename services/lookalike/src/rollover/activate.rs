//! Rolls over to a model: runs the steps in order, moves the alias, and verifies the result.

use anyhow::Result;
use lookalike_client::terminal;
use serde_json::{Value, json};

use super::compare::{self, ModelComparison};
use super::confirm::{can_prompt, confirm_rollover};
use super::copy::{copy_until_stable, report_incomplete};
use super::missing_model::record_model_source;
use super::plan::{RolloverPlan, ShadowCopy, plan_rollover};
use super::session::RolloverSession;
use super::sheet;
use super::wait_for_roles::{wait_for_embedders, wait_for_service};
use crate::commands::audit::connect_and_audit;

/// Before the question, at least one pass runs after the first one, which may take long.
const MIN_PASSES_BEFORE_QUESTION: u32 = 2;

pub(super) async fn roll_over_to(session: &RolloverSession<'_>, name: &str) -> Result<()> {
    match plan_rollover(session, name).await? {
        RolloverPlan::AlreadyInService { collection, source } => {
            let model = &collection.model.name;
            session
                .progress
                .print_line(&format!("{model} is in service"));
            session.mark_as_effective();
            record_model_source(&session.collections, &collection.name, &source).await;
            let report = json!({
                "model": model,
                "collection": collection.name,
                "activated": false,
            });
            finish_rollover(session, &collection.name, report).await
        }
        RolloverPlan::Copy(shadow) => copy_and_activate(session, &shadow).await,
    }
}

async fn copy_and_activate(session: &RolloverSession<'_>, shadow: &ShadowCopy) -> Result<()> {
    let last_pass = copy_until_stable(session, shadow, MIN_PASSES_BEFORE_QUESTION).await?;
    report_incomplete(session, &last_pass);
    let comparison = compare_models(session, shadow, &last_pass.sample).await?;
    let sheet = sheet::write_sheet(session, shadow, &comparison).await?;
    let new_model = &shadow.new_index.model().name;
    let new_collection = shadow.new_index.collection();
    let mut report = json!({
        "model": new_model,
        "collection": &*new_collection,
        "before": {"model": shadow.current.model.name, "collection": shadow.current.name},
        "rows": last_pass.rows,
        "skipped": last_pass.skipped,
        "compared": comparison.to_json(),
        "sheet": sheet.map(|path| path.display().to_string()),
    });
    if !confirm_rollover(session, &comparison).await? {
        report["activated"] = false.into();
        report["needs_yes"] = (!can_prompt(session)).into();
        if session.args.json {
            terminal::write_json(&report)?;
        }
        return Ok(());
    }
    // The user may have taken long to answer.
    copy_until_stable(session, shadow, 1).await?;
    let new_collection = shadow.new_index.collection();
    session.put_in_service(&new_collection).await?;
    session.progress.print_line(&format!(
        "{new_model} is in service now; {} is kept for `lookalike models use --rollback`",
        shadow.current.name
    ));
    finish_rollover(session, &new_collection, report).await
}

async fn compare_models(
    session: &RolloverSession<'_>,
    shadow: &ShadowCopy,
    sample: &[String],
) -> Result<ModelComparison> {
    session
        .progress
        .print_line("comparing the two models on your own pictures");
    let comparison = compare::compare_models(&shadow.old_index, &shadow.new_index, sample).await?;
    for line in comparison.summary_lines() {
        session.progress.print_line(&line);
    }
    Ok(comparison)
}

/// Waits until the roles use the collection in service, and audits the index.
pub(super) async fn finish_rollover(
    session: &RolloverSession<'_>,
    collection: &str,
    mut report: Value,
) -> Result<()> {
    if !session.configured_model.is_empty() {
        session.progress.print_line(&format!(
            "your settings name the model {:?} (vision.model): remove it, or roles that restart \
             refuse an index of another model",
            session.configured_model
        ));
    }
    if report["activated"].is_null() {
        report["activated"] = true.into();
    }
    if let Err(error) = wait_for_embedders(session, collection).await {
        if session.args.json {
            report["roles_followed"] = false.into();
            terminal::write_json(&report)?;
        }
        return Err(error);
    }
    wait_for_service(session).await;
    let args = session.args.to_audit_args();
    session
        .progress
        .print_line("comparing the index with the folders");
    let audit = connect_and_audit(&session.settings, &args).await?;
    let written = if session.args.json {
        report["audit"] = audit.to_json();
        terminal::write_json(&report)
    } else {
        audit.write_summary(&args)
    };
    audit.check_equal(&args)?;
    Ok(written?)
}

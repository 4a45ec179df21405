//! `models use --rollback`: puts the previous collection back in service.

use anyhow::{Result, anyhow};
use lookalike_client::{format_error, usage_error};
use lookalike_index::Index;
use serde_json::json;

use super::activate::finish_rollover;
use super::missing_model::verify_obtainable;
use super::session::RolloverSession;

pub(super) async fn roll_back(session: &RolloverSession<'_>) -> Result<()> {
    let current = session.collection_in_service().await?;
    let previous = session.collections.previous().await?.ok_or_else(|| {
        usage_error(anyhow!(
            "there is nothing to roll back to: {} is in service and has no previous collection",
            current.model.name
        ))
    })?;
    if let Err(error) = verify_obtainable(&session.settings, &previous).await {
        return Err(usage_error(anyhow!(
            "cannot roll back to {}: no worker could load it ({}). Nothing has changed",
            previous.model.name,
            format_error(&error)
        )));
    }
    // The collection must be able to answer before queries arrive.
    let index = Index::open_shadow(
        &session.settings.milvus,
        &previous.model,
        &previous.model_source,
    )
    .await?;
    index.check_ready().await?;
    session.put_in_service(&previous.name).await?;
    session.progress.print_line(&format!(
        "{} is in service again; {} is kept for `lookalike models use --rollback`",
        previous.model.name, current.name
    ));
    let report = json!({
        "model": previous.model.name,
        "collection": previous.name,
        "before": {"model": current.model.name, "collection": current.name},
    });
    finish_rollover(session, &previous.name, report).await
}

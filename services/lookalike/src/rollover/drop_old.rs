//! `models use --drop-old`: deletes the collections that are not in service.

use anyhow::{Result, anyhow, bail};
use lookalike_client::audit::wait_for_status_reports;
use lookalike_client::{terminal, usage_error};
use lookalike_index::Collection;
use serde_json::{Value, json};

use super::confirm::{ask_yes_no, can_prompt};
use super::session::RolloverSession;

const QUESTION: &str = "Delete them? A rollback to their models is impossible afterwards.";

pub(super) async fn drop_old_collections(session: &RolloverSession<'_>) -> Result<()> {
    let current = session.collection_in_service().await?;
    let mut old = session.collections.list_all().await?;
    old.retain(|collection| collection.name != current.name);
    wait_for_status_reports(&session.status, &[]).await;
    for collection in &old {
        fail_if_in_use(session, collection)?;
        let rows = session.collections.count_rows(&collection.name).await;
        let rows = rows.map_or("an unknown number of".to_owned(), |rows| rows.to_string());
        session.progress.print_line(&format!(
            "{}: {rows} rows of {}",
            collection.name, collection.model.name
        ));
    }
    let needs_answer = !old.is_empty() && !session.args.yes;
    if needs_answer && !can_prompt(session) {
        if session.args.json {
            terminal::write_json(&json!({
                "dropped": [],
                "needs_yes": true,
                "would_drop": list_as_json(&old),
            }))?;
        }
        return Err(usage_error(anyhow!(
            "nothing was deleted: there is no terminal to ask on, so add --yes"
        )));
    }
    let is_confirmed = !needs_answer || ask_yes_no(QUESTION).await?;
    if is_confirmed {
        if !old.is_empty() {
            session.mark_as_effective();
        }
        for collection in &old {
            let name = &collection.name;
            session.collections.remove_collection(name).await?;
        }
        session.progress.print_line(match old.is_empty() {
            true => "there are no old collections",
            false => "deleted",
        });
    }
    if session.args.json {
        let dropped = match is_confirmed {
            true => list_as_json(&old),
            false => json!([]),
        };
        terminal::write_json(&json!({ "dropped": dropped }))?;
    }
    Ok(())
}

/// Fails if an embedder still works with this collection.
fn fail_if_in_use(session: &RolloverSession<'_>, collection: &Collection) -> Result<()> {
    let embedders = session.status.embedders();
    if embedders
        .iter()
        .any(|embedder| embedder.collection == collection.name)
    {
        bail!(
            "an embedder still uses {} ({}), because it could not switch to the new model: its log \
             has the reason",
            collection.name,
            collection.model.name
        );
    }
    Ok(())
}

fn list_as_json(collections: &[Collection]) -> Value {
    let list = collections
        .iter()
        .map(|collection| json!({"collection": collection.name, "model": collection.model.name}));
    Value::Array(list.collect())
}

//! Fills the second collection in passes, until a pass changes little.

use std::time::Instant;

use anyhow::{Result, bail};
use lookalike_client::terminal::escape_line;
use lookalike_embedder::rollover::copy::CopyPass;

use super::plan::ShadowCopy;
use super::session::RolloverSession;

/// Bounds the passes before the question, and after it.
const MAX_PASSES: u32 = 12;
/// A copy is stable when a pass changed at most this many rows, or this fraction of all rows.
const STABLE_MAX_ROWS: u64 = 50;
const STABLE_ROWS_DIVISOR: u64 = 100;

/// Runs at least `min_passes` passes, until the copy is stable. Returns the last pass.
pub(super) async fn copy_until_stable(
    session: &RolloverSession<'_>,
    shadow: &ShadowCopy,
    min_passes: u32,
) -> Result<CopyPass> {
    for number in 1..=MAX_PASSES {
        let total_rows = count_rows_in_service(session).await;
        let started_at = Instant::now();
        let on_progress =
            |pass: &CopyPass| session.progress.show_pass(pass, total_rows, started_at);
        let sample = usize::from(session.args.sample);
        let pass = shadow.copy.run_pass(sample, &on_progress).await?;
        // A second pass that changed nothing is not worth a line.
        if pass.changed_rows() > 0 || (number == 1 && min_passes > 1) {
            session.progress.print_pass_result(&pass, started_at);
        }
        let stable_rows = STABLE_MAX_ROWS.max(pass.rows / STABLE_ROWS_DIVISOR);
        if number >= min_passes && pass.changed_rows() <= stable_rows {
            return Ok(pass);
        }
    }
    bail!(
        "the pictures change faster than they can be embedded: try again when there is less \
         activity in the folders; the finished part of the copy is kept"
    )
}

async fn count_rows_in_service(session: &RolloverSession<'_>) -> u64 {
    match session.collections.name_in_service().await {
        Ok(Some(name)) => session.collections.count_rows(&name).await.unwrap_or(0),
        _ => 0,
    }
}

/// Reports the pictures that have no vector of the new model.
pub(super) fn report_incomplete(session: &RolloverSession<'_>, pass: &CopyPass) {
    if pass.skipped == 0 {
        return;
    }
    session.progress.print_line(&format!(
        "{} of {} pictures have no vector of the new model yet, because their files cannot be read \
         here, or changed. Pictures of watched libraries are sent again after the rollover:",
        pass.skipped, pass.rows
    ));
    for (library, path, reason) in &pass.skipped_files {
        let line = format!("  {library}/{path}: {reason}");
        session.progress.print_line(&escape_line(&line));
    }
}

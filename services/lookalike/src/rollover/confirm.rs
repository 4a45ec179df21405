//! Asks the user on the terminal. Ctrl-C may leave a question unanswered.

use std::io::IsTerminal as _;

use anyhow::{Context as _, Result};
use lookalike_chassis::stdio;

use super::compare::ModelComparison;
use super::session::RolloverSession;

/// Whether the user can be asked a question.
pub(super) fn can_prompt(session: &RolloverSession<'_>) -> bool {
    std::io::stdin().is_terminal() && !session.args.json
}

/// Asks whether to roll over, unless `--yes` is given. Without a terminal the answer is no.
pub(super) async fn confirm_rollover(
    session: &RolloverSession<'_>,
    comparison: &ModelComparison,
) -> Result<bool> {
    if session.args.yes {
        return Ok(true);
    }
    if !can_prompt(session) {
        session.progress.print_even_with_json(
            "the copy is ready, but there is no terminal to ask on: run the same command with \
             --yes to roll over; nothing has changed for searches",
        );
        return Ok(false);
    }
    session.progress.clear_bar();
    let question = format!(
        "Roll over, with {:.0} % of the neighbours in common?",
        comparison.shared_fraction() * 100.0
    );
    let is_confirmed = ask_yes_no(&question).await?;
    if !is_confirmed {
        session.progress.print_line(
            "nothing has changed for searches. Run the same command again to resume; \
             `lookalike models use --drop-old` removes the copy",
        );
    }
    Ok(is_confirmed)
}

/// Asks a question and waits for a line; every answer but a yes means no.
pub(super) async fn ask_yes_no(question: &str) -> Result<bool> {
    stdio::eprint_text(&format!("{question} [y/N] "));
    let (sender, answer) = tokio::sync::oneshot::channel();
    // Reading from a terminal cannot be cancelled, so it gets a thread that is never joined.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line);
        // The receiver is gone if the command was interrupted.
        let _ = sender.send(read.map(|_| line));
    });
    let unanswered = UnansweredPrompt;
    let line = answer.await.context("cannot read the answer")?;
    std::mem::forget(unanswered);
    Ok(is_yes(&line.context("cannot read the answer")?))
}

/// Ends the question's line if no answer did.
struct UnansweredPrompt;

impl Drop for UnansweredPrompt {
    fn drop(&mut self) {
        stdio::eprint_line("");
    }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim(), "y" | "Y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_means_yes() {
        assert!(is_yes("y\n") && is_yes(" yes ") && is_yes("Y"));
        assert!(!is_yes("") && !is_yes("\n") && !is_yes("n") && !is_yes("yesterday"));
    }
}

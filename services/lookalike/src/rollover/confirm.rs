//! Questions on the terminal, which Ctrl-C may leave unanswered.

use std::io::{IsTerminal as _, Write as _};

use crate::failure::Failure;

/// Whether somebody is there who can answer.
pub(super) fn is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// Asks, and waits for a line; anything but a yes is none.
///
/// # Errors
/// When the terminal can't be read.
pub(super) async fn ask_yes_no(question: &str) -> Result<bool, Failure> {
    eprint!("{question} [y/N] ");
    std::io::stderr().flush().map_err(Failure::failed)?;
    let (told, answered) = tokio::sync::oneshot::channel();
    // A thread of its own, which nothing waits for: reading can't be called off.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line);
        // Whoever asked may have left.
        let _ = told.send(read.map(|_| line));
    });
    let unanswered = UnansweredPrompt;
    let line = answered.await.map_err(Failure::failed)?;
    std::mem::forget(unanswered);
    Ok(is_yes(&line.map_err(Failure::failed)?))
}

/// Ends the question's line where no answer did.
struct UnansweredPrompt;

impl Drop for UnansweredPrompt {
    fn drop(&mut self) {
        eprintln!();
    }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim(), "y" | "Y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_one() {
        assert!(is_yes("y\n") && is_yes(" yes ") && is_yes("Y"));
        assert!(!is_yes("") && !is_yes("\n") && !is_yes("n") && !is_yes("yesterday"));
    }
}

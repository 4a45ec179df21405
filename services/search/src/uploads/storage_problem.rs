//! Why a file cannot be stored, with a remedy.

use std::io::{Error, ErrorKind};

use crate::problem::{Code, Problem};

/// `place` names the folder that cannot be changed.
pub(super) fn storage_problem(error: &Error, place: &str) -> Problem {
    let unavailable = |detail: String| Problem::new(Code::LibraryUnavailable, detail);
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            Problem::new(
                Code::StorageFull,
                format!(
                    "cannot write to {place}: {error}; free space there, and send the request again"
                ),
            )
        }
        ErrorKind::ReadOnlyFilesystem => unavailable(format!(
            "{place} is on a file system that is mounted read-only: mount it writable for this \
             service, or switch uploads and deletions off"
        )),
        ErrorKind::PermissionDenied => unavailable(format!(
            "this service has no permission to write to {place}: grant it to the account of the \
             service, or switch uploads and deletions off"
        )),
        ErrorKind::NotFound => unavailable(format!(
            "{place} is missing: connect its disk, or correct its path in the settings"
        )),
        _ => unavailable(format!("cannot write to {place}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_problem_has_a_remedy() {
        for (kind, code, remedy) in [
            (ErrorKind::StorageFull, Code::StorageFull, "free space"),
            (ErrorKind::QuotaExceeded, Code::StorageFull, "free space"),
            (
                ErrorKind::ReadOnlyFilesystem,
                Code::LibraryUnavailable,
                "writable",
            ),
            (
                ErrorKind::PermissionDenied,
                Code::LibraryUnavailable,
                "grant",
            ),
            (ErrorKind::NotFound, Code::LibraryUnavailable, "connect"),
        ] {
            let problem = storage_problem(&kind.into(), "the folder of library shop");
            assert_eq!(problem.code, code, "{kind}");
            assert!(problem.detail.contains(remedy), "{}", problem.detail);
            assert!(
                problem.detail.contains("library shop"),
                "{}",
                problem.detail
            );
        }
    }
}

//! What the API needs to change libraries: folders that can be written, and a trash folder.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use lookalike_proto::LibraryName;

use super::finding::{Finding, shell_quote};
use super::installation::Installation;
use super::storage::{check_folder, try_write};
use crate::settings::refuse_watched_trash;

/// Checks nothing unless the settings permit uploads or removals.
pub(super) fn check_changes(installation: &Installation) -> Vec<Finding> {
    let libraries = installation.named_libraries();
    let permissions = installation.settings.library_permissions(&libraries);
    let changed = permissions
        .iter()
        .filter(|(_, permissions)| permissions.uploads || permissions.deletions);
    let mut findings: Vec<Finding> = changed
        .map(|(name, _)| check_library(name, &libraries[name]))
        .collect();
    let mut permissions = permissions.values();
    if permissions.any(|permissions| permissions.deletions) {
        findings.extend(check_trash(installation, &libraries));
    }
    findings
}

fn check_library(name: &LibraryName, root: &Path) -> Finding {
    match try_write(root) {
        Ok(()) => Finding::ok("uploads", format!("{name} can be written")),
        Err(error) => Finding::failure(
            "uploads",
            format!(
                "{name} may be changed by the API, but {} cannot be written: {error}",
                root.display()
            ),
            match error.kind() {
                ErrorKind::PermissionDenied => format!(
                    "sudo chown \"$(id -un)\" {}",
                    shell_quote(&root.to_string_lossy())
                ),
                _ => format!(
                    "ls -ld {0}; df -h {0}",
                    shell_quote(&root.to_string_lossy())
                ),
            },
        ),
    }
}

fn check_trash(
    installation: &Installation,
    libraries: &BTreeMap<LibraryName, PathBuf>,
) -> Vec<Finding> {
    let checked = installation.settings.trash_dir();
    let checked = checked.and_then(|folder| {
        refuse_watched_trash(libraries, &folder)?;
        Ok(folder)
    });
    match checked {
        Ok(folder) => check_folder(installation, "trash folder", &folder, "uploads.trash_dir"),
        Err(error) => vec![Finding::failure(
            "trash folder",
            error.to_string(),
            "export LOOKALIKE_UPLOADS_TRASH_DIR=~/lookalike-trash",
        )],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::FindingStatus;

    #[test]
    fn libraries_that_cannot_be_written_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let name = LibraryName::new("photos").unwrap();
        assert_eq!(check_library(&name, dir.path()).status, FindingStatus::Ok);
        let missing = check_library(&name, &dir.path().join("missing"));
        assert_eq!(missing.status, FindingStatus::Failure);
        assert!(missing.message.contains("cannot be written"), "{missing:?}");
    }
}

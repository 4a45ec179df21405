//! What the API needs to change libraries: folders that can be written, and a trash folder.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use lookalike_proto::LibraryName;

use super::finding::{Finding, shell_quote};
use super::installation::Installation;
use super::storage::{check_folder, try_write};
use crate::libraries::refuse_watched_folder;

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
        match installation.settings.trash_dir() {
            Ok(folder) => findings.extend(check_trash(installation, &libraries, &folder)),
            Err(error) => findings.push(Finding::failure(
                "trash folder",
                error.to_string(),
                "export LOOKALIKE_UPLOADS_TRASH_DIR=~/lookalike-trash",
            )),
        }
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

/// Each library has a folder in the trash, which must not be watched either.
fn check_trash(
    installation: &Installation,
    libraries: &BTreeMap<LibraryName, PathBuf>,
    folder: &Path,
) -> Vec<Finding> {
    const SETTING: &str = "uploads.trash_dir";
    let mut folders = libraries.keys().map(|name| folder.join(name.as_str()));
    let refusal =
        folders.find_map(|folder| refuse_watched_folder(libraries, SETTING, &folder).err());
    match refusal {
        Some(error) => vec![Finding::failure(
            "trash folder",
            error.to_string(),
            "export LOOKALIKE_UPLOADS_TRASH_DIR=~/lookalike-trash",
        )],
        None => check_folder(installation, "trash folder", folder, SETTING),
    }
}

impl Installation {
    /// Returns the libraries whose names are valid.
    pub(super) fn named_libraries(&self) -> BTreeMap<LibraryName, PathBuf> {
        let libraries = self.libraries.iter().filter_map(|(name, root)| {
            let name = LibraryName::new(name).ok()?;
            Some((name, root.clone()))
        });
        libraries.collect()
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

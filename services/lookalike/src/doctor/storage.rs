//! The data folder and the cache folder: whether lookalike can write there, and how much.

use std::fs;
use std::path::{Path, PathBuf};

use lookalike_chassis::disk_space::read_disk_space;
use lookalike_chassis::settings::size::format_size;

use super::finding::{Finding, shell_quote};
use super::installation::Installation;
use crate::libraries::refuse_watched_folder;

/// With less, Milvus and nats-server soon reject writes.
const MIN_FREE_BYTES: u64 = 512 << 20;
/// With less, an index of some ten thousand pictures may fill the disk.
const USUAL_FREE_BYTES: u64 = 2 << 30;
/// Milvus stores its data in many small files.
const MIN_FREE_FILES: u64 = 10_000;

pub(super) fn check_storage(installation: &Installation) -> Vec<Finding> {
    let mut findings = Vec::new();
    match &installation.data_dir {
        Some(data_dir) => findings.extend(check_folder(
            installation,
            "data folder",
            data_dir,
            "--data-dir",
        )),
        None => findings.push(Finding::failure(
            "data folder",
            "this account has no data folder",
            "lookalike up --data-dir ./lookalike-data",
        )),
    }
    match lookalike_servers::cache_dir(&installation.settings.servers) {
        Ok(cache) => findings.extend(check_folder(
            installation,
            "cache folder",
            cache.parent().unwrap_or(&cache),
            "servers.cache_dir",
        )),
        Err(error) => findings.push(Finding::failure(
            "cache folder",
            error.to_string(),
            "export LOOKALIKE_SERVERS_CACHE_DIR=$PWD/lookalike-cache",
        )),
    }
    let starts_milvus = installation.settings.milvus.url.is_empty();
    if starts_milvus && let Err(error) = lookalike_servers::check_runtime_dirs() {
        findings.push(Finding::failure(
            "milvus",
            error.to_string(),
            "ls -ld /tmp/milvus /tmp/milvus/*",
        ));
    }
    findings
}

/// `setting` chooses another folder.
pub(super) fn check_folder(
    installation: &Installation,
    check: &'static str,
    folder: &Path,
    setting: &str,
) -> Vec<Finding> {
    let elsewhere = match setting {
        "--data-dir" => "lookalike up --data-dir ~/lookalike-data",
        "uploads.trash_dir" => "export LOOKALIKE_UPLOADS_TRASH_DIR=~/lookalike-trash",
        _ => "export LOOKALIKE_SERVERS_CACHE_DIR=~/lookalike-cache",
    };
    let libraries = installation.named_libraries();
    if let Err(error) = refuse_watched_folder(&libraries, setting, folder) {
        return vec![Finding::failure(check, error.to_string(), elsewhere)];
    }
    let existing = existing_part(folder);
    if let Err(error) = try_write(&existing) {
        return vec![Finding::failure(
            check,
            format!(
                "{} cannot be written: {error}",
                match existing == folder {
                    true => folder.display().to_string(),
                    false => format!("{} (in {})", folder.display(), existing.display()),
                }
            ),
            match fs::metadata(&existing).is_ok_and(|metadata| metadata.is_dir()) {
                true => format!(
                    "sudo chown -R \"$(id -un)\" {}",
                    shell_quote(&existing.to_string_lossy())
                ),
                false => elsewhere.to_owned(),
            },
        )];
    }
    vec![judge_space(check, folder, &existing)]
}

/// Returns the folder, or the nearest of its ancestors that exists. Creating the rest needs
/// permission there.
fn existing_part(folder: &Path) -> PathBuf {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let existing = absolute
        .ancestors()
        .find(|path| path.symlink_metadata().is_ok());
    existing.map_or_else(|| absolute.clone(), Path::to_owned)
}

/// Creates a file in the folder, writes it, and removes it.
pub(super) fn try_write(folder: &Path) -> std::io::Result<()> {
    let probe = folder.join(format!(".lookalike-doctor-{}", std::process::id()));
    let written = fs::write(&probe, [0; 4096]).and_then(|()| fs::File::open(&probe)?.sync_all());
    // Also after an error: the file may exist without its content.
    let _ = fs::remove_file(&probe);
    written
}

fn judge_space(check: &'static str, folder: &Path, existing: &Path) -> Finding {
    let shown = folder.display();
    let remedy = format!("df -h {}", shell_quote(&existing.to_string_lossy()));
    let space = match read_disk_space(existing) {
        Ok(space) => space,
        Err(error) => {
            let message = format!("{shown}: the free space cannot be read: {error}");
            return Finding::warning(check, message, remedy);
        }
    };
    let free = format_size(space.free_bytes >> 20 << 20);
    if space.free_bytes < MIN_FREE_BYTES {
        let message = format!(
            "{shown} is writable, but only {free} are free; lookalike needs {}",
            format_size(MIN_FREE_BYTES)
        );
        return Finding::failure(check, message, remedy);
    }
    if let Some(files) = space.free_files.filter(|files| *files < MIN_FREE_FILES) {
        let message = format!("{shown}: its file system can store only {files} more files");
        let remedy = remedy.replacen("df -h", "df -hi", 1);
        return Finding::failure(check, message, remedy);
    }
    if space.free_bytes < USUAL_FREE_BYTES {
        let message = format!("{shown} is writable, but only {free} are free");
        return Finding::warning(check, message, remedy);
    }
    Finding::ok(check, format!("{shown} is writable, {free} free"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::FindingStatus;

    #[test]
    fn a_folder_is_written_for_real_and_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        try_write(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(try_write(&file).is_err(), "a file is not a folder");
        assert_eq!(existing_part(&file.join("a/b")), file);
        assert_eq!(existing_part(&dir.path().join("a/b")), dir.path());
        let finding = judge_space("data folder", &file, dir.path());
        assert_ne!(finding.status, FindingStatus::Failure, "{finding:?}");
    }
}

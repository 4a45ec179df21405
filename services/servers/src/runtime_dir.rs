//! Files that Milvus writes outside the data folder, and their removal.
//!
//! Milvus writes to two fixed paths. Its pid goes to `standalone.pid` in `/run/milvus`, or in
//! `/tmp/milvus` if it cannot write there. It always writes `/tmp/milvus/server_id_PID`. It exits at
//! once if it cannot write them. lookalike does not need these files, and several instances do not
//! disturb each other; but the first user of a machine would lock out all others.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::error::Error;

const RUN: &str = "/run/milvus";
const TMP: &str = "/tmp/milvus";
const PID_FILE: &str = "standalone.pid";

/// Ensures that Milvus can write these files.
///
/// # Errors
/// [`Error::RuntimeDir`] if the folder belongs to another account.
pub(crate) fn prepare_runtime_dirs() -> Result<(), Error> {
    if fs::create_dir(TMP).is_ok() {
        // Writable by all users, like `/tmp`; otherwise only this account could run Milvus.
        let _ = fs::set_permissions(TMP, Permissions::from_mode(0o1777));
    }
    let pid_folder = if may_create_in(Path::new(RUN)) {
        RUN
    } else {
        TMP
    };
    let pid_file = Path::new(pid_folder).join(PID_FILE);
    let was_there = pid_file.exists();
    if may_create_in(Path::new(TMP)) && may_write(&pid_file) {
        if !was_there {
            // The probe created this empty file; it would lock out other accounts permanently.
            let _ = fs::remove_file(pid_file);
        }
        Ok(())
    } else {
        Err(Error::RuntimeDir)
    }
}

/// Checks that Milvus can write into its folder if a Milvus was started on this machine before.
/// Otherwise the first start creates it. Leaves nothing behind.
///
/// # Errors
/// [`Error::RuntimeDir`] if the folder belongs to another account.
pub fn check_runtime_dirs() -> Result<(), Error> {
    match !Path::new(TMP).exists() || may_create_in(Path::new(TMP)) {
        true => Ok(()),
        false => Err(Error::RuntimeDir),
    }
}

fn may_create_in(folder: &Path) -> bool {
    let probe = folder.join(format!("lookalike-{}", std::process::id()));
    let made = fs::create_dir_all(folder).is_ok() && may_write(&probe);
    let _ = fs::remove_file(probe);
    made
}

fn may_write(file: &Path) -> bool {
    let file = OpenOptions::new().create(true).append(true).open(file);
    file.is_ok()
}

/// The files of one Milvus process. Dropping this value removes them.
#[derive(Debug)]
pub(crate) struct MilvusTempFiles {
    pid: u32,
}

impl MilvusTempFiles {
    pub(crate) fn for_process(pid: u32) -> Self {
        Self { pid }
    }

    /// Removes the pid file, which is never read and would keep other accounts from starting a
    /// Milvus. The pid file of another process stays.
    pub(crate) fn remove_pid_file(&self) {
        for folder in [RUN, TMP] {
            let path = Path::new(folder).join(PID_FILE);
            let text = fs::read_to_string(&path).unwrap_or_default();
            if text.trim() == self.pid.to_string() {
                let _ = fs::remove_file(path);
            }
        }
    }
}

impl Drop for MilvusTempFiles {
    fn drop(&mut self) {
        self.remove_pid_file();
        let _ = fs::remove_file(format!("{TMP}/server_id_{}", self.pid));
    }
}

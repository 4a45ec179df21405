//! What Milvus insists on writing outside the data folder, and how we clean up after it.
//!
//! Two paths are built into it and no setting changes them: its process number goes to
//! `standalone.pid` in `/run/milvus`, or in `/tmp/milvus` where it may not write to that, and
//! `/tmp/milvus/server_id_PID` is written in any case. It ends at once when it may not. The files
//! are of no use to us, and several instances do each other no harm; but the first user of a
//! machine would lock the others out.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::error::Error;

const RUN: &str = "/run/milvus";
const TMP: &str = "/tmp/milvus";
const PID_FILE: &str = "standalone.pid";

/// Makes sure that Milvus will be able to write what it insists on.
///
/// # Errors
/// [`Error::RuntimeDir`] when another account holds the folder.
pub(crate) fn prepare_runtime_dirs() -> Result<(), Error> {
    if fs::create_dir(TMP).is_ok() {
        // For all users, like `/tmp` itself. Without it only this account could run Milvus here.
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
            // Ours, and empty: it would keep other accounts out for good.
            let _ = fs::remove_file(pid_file);
        }
        Ok(())
    } else {
        Err(Error::RuntimeDir)
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

/// The files of one Milvus process; removed on drop.
#[derive(Debug)]
pub(crate) struct MilvusTraces {
    pid: u32,
}

impl MilvusTraces {
    /// Of the process with this number.
    pub(crate) fn for_process(pid: u32) -> Self {
        Self { pid }
    }

    /// Removes the process number, which keeps other accounts from starting a Milvus and which
    /// nobody reads. That of another process is left alone.
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

impl Drop for MilvusTraces {
    fn drop(&mut self) {
        self.remove_pid_file();
        let _ = fs::remove_file(format!("{TMP}/server_id_{}", self.pid));
    }
}

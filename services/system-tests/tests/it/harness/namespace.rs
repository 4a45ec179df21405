//! Processes in namespaces of their own: mounts, small disks and few watches that nobody else
//! sees. Where the system does not permit that, it is said, and the caller does what is possible
//! without.

use std::path::Path;
use std::process::{Command, Stdio};

/// How a namespace is made here.
#[derive(Debug, Clone, Copy)]
pub enum NamespaceMode {
    /// As root.
    Root,
    /// As anybody, with a user namespace around.
    User,
}

impl NamespaceMode {
    fn unshare_flags(self) -> &'static str {
        match self {
            Self::Root => "-m",
            Self::User => "-Urm",
        }
    }
}

/// Whether mounts in a namespace of one's own are permitted; says so where they are not.
pub fn may_mount() -> Option<NamespaceMode> {
    let try_mount = "mount -t tmpfs -o size=1m tmpfs /tmp";
    let permitted = [NamespaceMode::Root, NamespaceMode::User]
        .into_iter()
        .find(|permit| may_run(*permit, try_mount));
    if permitted.is_some() {
        return permitted;
    }
    eprintln!(
        "NOT PERMITTED HERE: mounts in a namespace (unshare -m); doing what is possible without"
    );
    None
}

/// Whether a script may do what it does among mounts of its own.
pub fn may_run(permit: NamespaceMode, script: &str) -> bool {
    command_succeeds(Command::new("unshare").args([permit.unshare_flags(), "sh", "-c", script]))
}

/// Whether a user namespace may have a limit of its own for watches; says so where it may not.
pub fn may_limit_watches() -> bool {
    let limit = "echo 100 > /proc/sys/user/max_inotify_watches";
    let may = command_succeeds(Command::new("unshare").args(["-Ur", "sh", "-c", limit]));
    if !may {
        eprintln!("NOT PERMITTED HERE: a limit for watches in a namespace (unshare -U)");
    }
    may
}

fn command_succeeds(command: &mut Command) -> bool {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// The command in namespaces of its own, after `script` has run there as root.
fn in_namespace(flags: &str, script: &str, command: &Command) -> Command {
    let mut outer = Command::new("unshare");
    outer
        .args([flags, "sh", "-c", &format!("{script} && exec \"$@\""), "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        outer.current_dir(folder);
    }
    outer
}

/// The command with mounts of its own, made by `script`.
pub fn with_mounts(permit: NamespaceMode, script: &str, command: &Command) -> Command {
    in_namespace(permit.unshare_flags(), script, command)
}

/// The command with at most so many watches.
pub fn with_watches(max_watches: u32, command: &Command) -> Command {
    let script = format!("echo {max_watches} > /proc/sys/user/max_inotify_watches");
    in_namespace("-Ur", &script, command)
}

/// Runs a script among the mounts of a running process.
pub fn among_mounts_of(permit: NamespaceMode, pid: u32, script: &str) {
    let flags: &[&str] = match permit {
        NamespaceMode::Root => &["-m"],
        NamespaceMode::User => &["-U", "--preserve-credentials", "-m"],
    };
    let output = Command::new("nsenter")
        .args(["-t", &pid.to_string()])
        .args(flags)
        .args(["sh", "-c", script])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {stderr}");
}

/// A script that mounts an empty disk of so many mebibytes.
pub fn small_disk(at: &Path, mebibytes: u32) -> String {
    format!(
        "mount -t tmpfs -o size={mebibytes}m,mode=755 tmpfs '{}'",
        at.display()
    )
}

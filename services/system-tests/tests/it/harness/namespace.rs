//! Processes in namespaces of their own: mounts, small disks and limits on watches that no other process
//! sees. If the system does not permit namespaces, these functions print that, and the test does what is
//! possible without.

use std::path::Path;
use std::process::{Command, Stdio};

/// The kind of namespace that this system permits.
#[derive(Debug, Clone, Copy)]
pub enum NamespaceMode {
    /// A mount namespace, as root.
    Root,
    /// A mount namespace inside a user namespace, as any user.
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

/// Returns the permitted kind of mount namespace; prints if there is none.
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

/// Returns whether a script succeeds in a mount namespace.
pub fn may_run(permit: NamespaceMode, script: &str) -> bool {
    command_succeeds(Command::new("unshare").args([permit.unshare_flags(), "sh", "-c", script]))
}

/// Returns whether a user namespace may have its own limit on watches; prints if it may not.
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

/// Wraps a command in namespaces of its own, in which `script` has run as root before.
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

/// Wraps a command in a mount namespace that `script` prepares.
pub fn with_mounts(permit: NamespaceMode, script: &str, command: &Command) -> Command {
    in_namespace(permit.unshare_flags(), script, command)
}

/// Wraps a command with a limit on its watches.
pub fn with_watches(max_watches: u32, command: &Command) -> Command {
    let script = format!("echo {max_watches} > /proc/sys/user/max_inotify_watches");
    in_namespace("-Ur", &script, command)
}

/// Runs a script in the mount namespace of a running process.
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

/// Returns a script that mounts an empty disk of this size.
pub fn small_disk(at: &Path, mebibytes: u32) -> String {
    format!(
        "mount -t tmpfs -o size={mebibytes}m,mode=755 tmpfs '{}'",
        at.display()
    )
}

//! Starts all children from one thread, so that they die with this process.
//!
//! Linux can signal a child when its parent dies (`PR_SET_PDEATHSIG`), but *parent* means the thread
//! that spawned the child. A tokio worker or a blocking thread may end long before the process and
//! would kill the servers. Therefore one thread spawns all children and runs until the process ends.
//!
//! On other systems only [`crate::Servers`] stops the children; they outlive a SIGKILL of their
//! parent.

use std::io;
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError, mpsc};

use tokio::sync::oneshot;

struct SpawnRequest {
    command: Command,
    reply: oneshot::Sender<io::Result<Child>>,
}

static SPAWNER: Mutex<Option<mpsc::Sender<SpawnRequest>>> = Mutex::new(None);

/// Spawns `command` in its own process group, so that Ctrl-C reaches only this process. The child is
/// killed when this process ends for any reason.
pub(crate) async fn spawn_tied_child(command: Command) -> io::Result<Child> {
    let (reply, answer) = oneshot::channel();
    request_sender()?
        .send(SpawnRequest { command, reply })
        .expect("the spawner thread never ends");
    answer
        .await
        .expect("the spawner thread answers every request")
}

fn request_sender() -> io::Result<mpsc::Sender<SpawnRequest>> {
    let mut spawner = SPAWNER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(sender) = &*spawner {
        return Ok(sender.clone());
    }
    let (sender, requests) = mpsc::channel::<SpawnRequest>();
    std::thread::Builder::new()
        .name("spawner".to_owned())
        .spawn(move || {
            for SpawnRequest { mut command, reply } in requests {
                die_with_parent(&mut command);
                // A caller that stopped waiting must not leave a child behind.
                if let Err(Ok(mut child)) = reply.send(command.spawn()) {
                    let _ = child.kill();
                    let _ = child.wait();
                }
            }
        })?;
    *spawner = Some(sender.clone());
    Ok(sender)
}

fn die_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt as _;
    command.process_group(0);
    #[cfg(target_os = "linux")]
    {
        let parent = std::process::id();
        let request_death_signal = move || {
            // SAFETY: both are plain system calls without pointers, allowed after fork.
            unsafe {
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                    return Err(io::Error::last_os_error());
                }
                // If the parent died before the request, no signal will arrive.
                if libc::getppid().cast_unsigned() != parent {
                    return Err(io::Error::from_raw_os_error(libc::ESRCH));
                }
            }
            Ok(())
        };
        // SAFETY: the closure runs between fork and exec. It makes system calls only, allocates
        // nothing and takes no lock (`from_raw_os_error` and `last_os_error` don't either).
        unsafe { command.pre_exec(request_death_signal) };
    }
}

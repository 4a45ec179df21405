//! The servers over one data folder.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use crate::data_dir::DataDir;
use crate::error::Error;
use crate::fetch::Programs;
use crate::ports;
use crate::server::ChildServer;
use crate::settings::Settings;
use crate::stage::{Program, ServerProgress, WantedServers};

/// Running servers and the lock of their data folder. Dropping this value kills the servers;
/// [`Servers::stop`] stops them gracefully.
#[derive(Debug)]
pub struct Servers {
    // Fields are dropped in this order: the servers are killed before the lock is released.
    nats: Option<ServerSlot>,
    milvus: Option<ServerSlot>,
    data_dir: DataDir,
}

#[derive(Debug)]
struct ServerSlot {
    server: ChildServer,
    url: String,
}

const HEALTH_CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// Milvus must be restarted after this many consecutive failed checks; a busy one may fail some.
const MAX_UNHEALTHY_CHECKS: u32 = 6;

/// Why a server must be restarted.
#[derive(Debug, Clone)]
pub enum ServerFailure {
    Exited(ExitedServer),
    /// It runs, but does not recover by itself.
    Stuck {
        program: Program,
        reason: String,
    },
}

/// A server that ended unexpectedly.
#[derive(Debug, Clone)]
pub struct ExitedServer {
    pub program: Program,
    pub status: ExitStatus,
    /// Last lines of its log, the newest last, long ones truncated.
    pub log_tail: Vec<String>,
    pub log_path: PathBuf,
}

impl Servers {
    /// Starts the wanted servers in parallel with `data_dir`, which is created if necessary, and
    /// returns when they are ready. The folder is locked even if no server is wanted.
    ///
    /// # Errors
    /// [`Error::InUse`] if another process holds the folder. After any error no server runs.
    pub async fn start(
        settings: &Settings,
        programs: &Programs,
        data_dir: &Path,
        wanted: WantedServers,
        progress: ServerProgress<'_>,
    ) -> Result<Self, Error> {
        let data_dir = DataDir::acquire_lock(data_dir)?;
        let port_timeout = settings.port_timeout;
        let ports = ports::choose_ports(data_dir.path(), wanted.programs(), port_timeout).await?;
        let slot = |program, wanted: bool| {
            wanted
                .then(|| {
                    let server =
                        ChildServer::new(program, settings, programs, &data_dir, ports.clone())?;
                    let url = server.url();
                    Ok::<_, Error>(ServerSlot { server, url })
                })
                .transpose()
        };
        let mut servers = Self {
            nats: slot(Program::Nats, wanted.nats)?,
            milvus: slot(Program::Milvus, wanted.milvus)?,
            data_dir,
        };
        tokio::try_join!(
            start_slot(&mut servers.nats, progress),
            start_slot(&mut servers.milvus, progress),
        )?;
        Ok(servers)
    }

    /// Returns the absolute path of the data folder.
    pub fn data_dir(&self) -> &Path {
        self.data_dir.path()
    }

    /// Returns `nats://127.0.0.1:PORT` if nats-server runs here. Restarts keep the address.
    pub fn nats_url(&self) -> Option<&str> {
        self.nats.as_ref().map(|slot| slot.url.as_str())
    }

    /// Returns `http://127.0.0.1:PORT` of the gRPC service if Milvus runs here. Restarts keep the
    /// address.
    pub fn milvus_url(&self) -> Option<&str> {
        self.milvus.as_ref().map(|slot| slot.url.as_str())
    }

    pub fn nats_pid(&self) -> Option<u32> {
        self.nats.as_ref()?.server.pid()
    }

    pub fn milvus_pid(&self) -> Option<u32> {
        self.milvus.as_ref()?.server.pid()
    }

    pub fn nats_log(&self) -> Option<PathBuf> {
        Some(self.nats.as_ref()?.server.log_path())
    }

    pub fn milvus_log(&self) -> Option<PathBuf> {
        Some(self.milvus.as_ref()?.server.log_path())
    }

    /// Waits until a server ends unexpectedly, by a crash or a signal of another process, and
    /// returns it. The server stays stopped until it is restarted. Waits forever while no server
    /// runs.
    ///
    /// Cancel-safe: dropping the future loses nothing.
    pub async fn next_exit(&mut self) -> ExitedServer {
        let (slot, status) = tokio::select! {
            status = wait_slot_exit(&self.nats) => (&mut self.nats, status),
            status = wait_slot_exit(&self.milvus) => (&mut self.milvus, status),
        };
        let server = &mut slot
            .as_mut()
            .expect("the slot had a child that ended")
            .server;
        let child = server.take_child().expect("the child has just ended");
        ExitedServer {
            program: server.program,
            status,
            log_tail: child.log_tail(),
            log_path: server.log_path(),
        }
    }

    /// Waits until a server must be restarted: it has exited, accepts no writes, or stays unhealthy.
    /// Waits forever while no server runs.
    pub async fn next_failure(&mut self) -> ServerFailure {
        let mut unhealthy_checks = 0;
        loop {
            tokio::select! {
                exited = self.next_exit() => return ServerFailure::Exited(exited),
                () = tokio::time::sleep(HEALTH_CHECK_INTERVAL) => {}
            }
            if let Some(reason) = self.nats_stuck_reason().await {
                let program = Program::Nats;
                return ServerFailure::Stuck { program, reason };
            }
            let Some(reason) = self.milvus_unhealthy_reason().await else {
                unhealthy_checks = 0;
                continue;
            };
            unhealthy_checks += 1;
            if unhealthy_checks >= MAX_UNHEALTHY_CHECKS {
                let program = Program::Milvus;
                return ServerFailure::Stuck { program, reason };
            }
            tracing::warn!(reason, "Milvus is unhealthy");
        }
    }

    /// Restarts one of the servers.
    ///
    /// # Errors
    /// As for [`Servers::restart_nats`] and [`Servers::restart_milvus`].
    pub async fn restart(&mut self, program: Program) -> Result<(), Error> {
        match program {
            Program::Nats => self.restart_nats().await,
            Program::Milvus => self.restart_milvus().await,
        }
    }

    /// Returns nats-server's message if it runs but accepts no writes, as after its disk was full.
    /// Only a restart helps.
    pub async fn nats_stuck_reason(&self) -> Option<String> {
        self.nats.as_ref()?.server.stuck_reason().await
    }

    /// Returns the reason if Milvus runs but is not healthy. This may be temporary; a Milvus that was
    /// frozen until its session expired stays unhealthy until it is restarted.
    pub async fn milvus_unhealthy_reason(&self) -> Option<String> {
        self.milvus.as_ref()?.server.stuck_reason().await
    }

    /// Kills nats-server like a crash. [`Servers::next_exit`] does not report it.
    pub async fn kill_nats(&mut self) {
        if let Some(slot) = &mut self.nats {
            slot.server.kill().await;
        }
    }

    /// Kills Milvus like a crash. [`Servers::next_exit`] does not report it.
    pub async fn kill_milvus(&mut self) {
        if let Some(slot) = &mut self.milvus {
            slot.server.kill().await;
        }
    }

    /// Restarts nats-server with the same ports and data.
    ///
    /// # Errors
    /// [`Error::NotOurs`] if this process does not run nats-server.
    pub async fn restart_nats(&mut self) -> Result<(), Error> {
        restart_slot(&mut self.nats, Program::Nats).await
    }

    /// Restarts Milvus with the same ports and data. When this returns, Milvus answers, but its
    /// collections may not be searchable yet.
    ///
    /// # Errors
    /// [`Error::NotOurs`] if this process does not run Milvus.
    pub async fn restart_milvus(&mut self) -> Result<(), Error> {
        restart_slot(&mut self.milvus, Program::Milvus).await
    }

    /// Stops the running servers: sends SIGTERM, waits for the configured timeout, then kills.
    /// Milvus rarely exits in time, so flush its collections first.
    pub async fn stop(mut self) {
        tokio::join!(stop_slot(&mut self.nats), stop_slot(&mut self.milvus));
    }
}

async fn start_slot(
    slot: &mut Option<ServerSlot>,
    progress: ServerProgress<'_>,
) -> Result<(), Error> {
    match slot {
        Some(slot) => slot.server.start(progress).await,
        None => Ok(()),
    }
}

async fn restart_slot(slot: &mut Option<ServerSlot>, program: Program) -> Result<(), Error> {
    let slot = slot.as_mut().ok_or(Error::NotOurs { program })?;
    slot.server.stop().await;
    slot.server.start(&|_| {}).await
}

async fn stop_slot(slot: &mut Option<ServerSlot>) {
    if let Some(slot) = slot {
        slot.server.stop().await;
    }
}

async fn wait_slot_exit(slot: &Option<ServerSlot>) -> ExitStatus {
    match slot.as_ref().and_then(|slot| slot.server.child()) {
        Some(child) => child.wait_exit().await,
        None => std::future::pending().await,
    }
}

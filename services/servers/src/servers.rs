//! The servers over one data folder.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use crate::data_dir::DataDir;
use crate::error::Error;
use crate::fetch::Programs;
use crate::ports;
use crate::server::ChildServer;
use crate::settings::Settings;
use crate::stage::{Program, ServerProgress, WantedServers};

/// Running servers, and the lock of their data folder. Dropping it kills them; [`Servers::stop_slot`]
/// is the polite way.
#[derive(Debug)]
pub struct Servers {
    // Fields are dropped in this order: the servers are told to die before the lock is let go.
    nats: Option<ServerSlot>,
    milvus: Option<ServerSlot>,
    data_dir: DataDir,
}

#[derive(Debug)]
struct ServerSlot {
    server: ChildServer,
    url: String,
}

/// A server that ended without being asked to.
#[derive(Debug, Clone)]
pub struct ExitedServer {
    /// The server.
    pub program: Program,
    /// How it ended.
    pub status: ExitStatus,
    /// The last lines it wrote, the newest last, long ones cut.
    pub log_tail: Vec<String>,
    /// The whole log.
    pub log_path: PathBuf,
}

impl Servers {
    /// Starts the wanted servers over `data_dir` (made if need be), both at once, and returns
    /// when they answer. The folder is locked even if none is wanted.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process holds the folder; else what kept a server from
    /// answering. Then none runs.
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

    /// The data folder, absolute.
    pub fn data_dir(&self) -> &Path {
        self.data_dir.path()
    }

    /// `nats://127.0.0.1:PORT`, if nats-server is ours. Stays the same over restarts.
    pub fn nats_url(&self) -> Option<&str> {
        self.nats.as_ref().map(|slot| slot.url.as_str())
    }

    /// `http://127.0.0.1:PORT` of the gRPC service, if Milvus is ours. Stays the same over
    /// restarts.
    pub fn milvus_url(&self) -> Option<&str> {
        self.milvus.as_ref().map(|slot| slot.url.as_str())
    }

    /// The process of nats-server, while it runs.
    pub fn nats_pid(&self) -> Option<u32> {
        self.nats.as_ref()?.server.pid()
    }

    /// The process of Milvus, while it runs.
    pub fn milvus_pid(&self) -> Option<u32> {
        self.milvus.as_ref()?.server.pid()
    }

    /// The log of nats-server, if that is ours.
    pub fn nats_log(&self) -> Option<PathBuf> {
        Some(self.nats.as_ref()?.server.log_path())
    }

    /// The log of Milvus, if that is ours.
    pub fn milvus_log(&self) -> Option<PathBuf> {
        Some(self.milvus.as_ref()?.server.log_path())
    }

    /// Waits for a server to end by itself (a crash, or someone else's signal), and says which.
    /// It stays down until it is restarted. Waits for ever while none runs.
    ///
    /// Safe to use in `select!`: dropping the future loses nothing.
    pub async fn next_exit(&mut self) -> ExitedServer {
        let (slot, status) = tokio::select! {
            status = wait_slot_exit(&self.nats) => (&mut self.nats, status),
            status = wait_slot_exit(&self.milvus) => (&mut self.milvus, status),
        };
        let server = &mut slot.as_mut().expect("it had a child that ended").server;
        let child = server.take_child().expect("it has just ended");
        ExitedServer {
            program: server.program,
            status,
            log_tail: child.log_tail(),
            log_path: server.log_path(),
        }
    }

    /// Whether nats-server runs and takes nothing any more, as after its disk was full; and what it
    /// says of that. Only starting it again helps.
    pub async fn nats_stuck_reason(&self) -> Option<String> {
        self.nats.as_ref()?.server.stuck_reason().await
    }

    /// Whether Milvus runs and does not say that it is well, and what it says. It may be for a
    /// moment; one that was frozen for long (its session is over then) stays so until it is
    /// started again.
    pub async fn milvus_unhealthy_reason(&self) -> Option<String> {
        self.milvus.as_ref()?.server.stuck_reason().await
    }

    /// Kills nats-server as a crash would. [`Servers::next_exit`] does not tell of it.
    pub async fn kill_nats(&mut self) {
        if let Some(slot) = &mut self.nats {
            slot.server.kill().await;
        }
    }

    /// Kills Milvus as a crash would. [`Servers::next_exit`] does not tell of it.
    pub async fn kill_milvus(&mut self) {
        if let Some(slot) = &mut self.milvus {
            slot.server.kill().await;
        }
    }

    /// Starts nats-server again, over the same ports and data; stops it first if it runs.
    ///
    /// # Errors
    /// When it does not answer, or is not ours.
    pub async fn restart_nats(&mut self) -> Result<(), Error> {
        restart_slot(&mut self.nats, Program::Nats).await
    }

    /// Starts Milvus again, over the same ports and data; stops it first if it runs. That it
    /// answers does not mean yet that its collections can be searched.
    ///
    /// # Errors
    /// When it does not answer, or is not ours.
    pub async fn restart_milvus(&mut self) -> Result<(), Error> {
        restart_slot(&mut self.milvus, Program::Milvus).await
    }

    /// Stops what runs: asks, waits a little, kills. Milvus hardly ever leaves by itself, so
    /// whoever has written to it flushes it first.
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

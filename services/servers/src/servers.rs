//! The servers over one data folder.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use crate::data_dir::DataDir;
use crate::error::Error;
use crate::fetch::Programs;
use crate::ports;
use crate::server::Server;
use crate::settings::Settings;
use crate::stage::{Program, Progress, Wanted};

/// Running servers, and the lock of their data folder. Dropping it kills them; [`Servers::stop`]
/// is the polite way.
#[derive(Debug)]
pub struct Servers {
    // Fields are dropped in this order: the servers are told to die before the lock is let go.
    nats: Option<Slot>,
    milvus: Option<Slot>,
    data_dir: DataDir,
}

#[derive(Debug)]
struct Slot {
    server: Server,
    url: String,
}

/// A server that ended without being asked to.
#[derive(Debug, Clone)]
pub struct Exited {
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
        wanted: Wanted,
        progress: Progress<'_>,
    ) -> Result<Self, Error> {
        let data_dir = DataDir::take(data_dir)?;
        let patience = settings.port_patience;
        let ports = ports::settle(data_dir.path(), wanted.programs(), patience).await?;
        let slot = |program, wanted: bool| {
            wanted
                .then(|| {
                    let server =
                        Server::new(program, settings, programs, &data_dir, ports.clone())?;
                    let url = server.url();
                    Ok::<_, Error>(Slot { server, url })
                })
                .transpose()
        };
        let mut servers = Self {
            nats: slot(Program::Nats, wanted.nats)?,
            milvus: slot(Program::Milvus, wanted.milvus)?,
            data_dir,
        };
        tokio::try_join!(
            start(&mut servers.nats, progress),
            start(&mut servers.milvus, progress),
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
    pub async fn exited(&mut self) -> Exited {
        let (slot, status) = tokio::select! {
            status = end_of(&self.nats) => (&mut self.nats, status),
            status = end_of(&self.milvus) => (&mut self.milvus, status),
        };
        let server = &mut slot.as_mut().expect("it had a child that ended").server;
        let child = server.take_child().expect("it has just ended");
        Exited {
            program: server.program,
            status,
            log_tail: child.tail(),
            log_path: server.log_path(),
        }
    }

    /// Whether nats-server runs and takes nothing any more, as after its disk was full; and what it
    /// says of that. Only starting it again helps.
    pub async fn nats_is_stuck(&self) -> Option<String> {
        self.nats.as_ref()?.server.stuck().await
    }

    /// Whether Milvus runs and does not say that it is well, and what it says. It may be for a
    /// moment; one that was frozen for long (its session is over then) stays so until it is
    /// started again.
    pub async fn milvus_is_unwell(&self) -> Option<String> {
        self.milvus.as_ref()?.server.stuck().await
    }

    /// Kills nats-server as a crash would. [`Servers::exited`] does not tell of it.
    pub async fn kill_nats(&mut self) {
        if let Some(slot) = &mut self.nats {
            slot.server.kill().await;
        }
    }

    /// Kills Milvus as a crash would. [`Servers::exited`] does not tell of it.
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
        restart(&mut self.nats, Program::Nats).await
    }

    /// Starts Milvus again, over the same ports and data; stops it first if it runs. That it
    /// answers does not mean yet that its collections can be searched.
    ///
    /// # Errors
    /// When it does not answer, or is not ours.
    pub async fn restart_milvus(&mut self) -> Result<(), Error> {
        restart(&mut self.milvus, Program::Milvus).await
    }

    /// Stops what runs: asks, waits a little, kills. Milvus hardly ever leaves by itself, so
    /// whoever has written to it flushes it first.
    pub async fn stop(mut self) {
        tokio::join!(stop(&mut self.nats), stop(&mut self.milvus));
    }
}

async fn start(slot: &mut Option<Slot>, progress: Progress<'_>) -> Result<(), Error> {
    match slot {
        Some(slot) => slot.server.start(progress).await,
        None => Ok(()),
    }
}

async fn restart(slot: &mut Option<Slot>, program: Program) -> Result<(), Error> {
    let slot = slot.as_mut().ok_or(Error::NotOurs { program })?;
    slot.server.stop().await;
    slot.server.start(&|_| {}).await
}

async fn stop(slot: &mut Option<Slot>) {
    if let Some(slot) = slot {
        slot.server.stop().await;
    }
}

async fn end_of(slot: &Option<Slot>) -> ExitStatus {
    match slot.as_ref().and_then(|slot| slot.server.child()) {
        Some(child) => child.exited().await,
        None => std::future::pending().await,
    }
}

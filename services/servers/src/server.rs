//! One server of a data folder: starting it, checking that it is ready, stopping it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::time::Instant;

use crate::child::ChildProcess;
use crate::data_dir::DataDir;
use crate::error::Error;
use crate::fetch::Programs;
use crate::log_file::LogFile;
use crate::loopback;
use crate::ports::Ports;
use crate::readiness;
use crate::rendered;
use crate::runtime_dir::{self, MilvusTempFiles};
use crate::sessions::SessionLeases;
use crate::settings::Settings;
use crate::stage::{Program, ServerProgress, ServerStage};

const READINESS_POLL_INTERVAL: Duration = Duration::from_millis(25);

/// Environment variables passed to the servers. None of them changes how a server works.
const PASSED_ENVIRONMENT: [&str; 6] = ["PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR"];

/// A server, running or not. Dropping this value kills the process.
#[derive(Debug)]
pub(crate) struct ChildServer {
    pub(crate) program: Program,
    executable: PathBuf,
    /// The server's folder within the data folder. The server writes only there.
    folder: String,
    ports: Ports,
    settings: Settings,
    /// Client for health checks.
    http: reqwest::Client,
    running: Option<RunningServer>,
}

/// A process and the files that it creates outside the data folder. Fields are dropped in this
/// order, so the files are removed after the process has ended.
#[derive(Debug)]
struct RunningServer {
    child: ChildProcess,
    traces: Option<MilvusTempFiles>,
}

impl ChildServer {
    /// Creates a server that is not running yet.
    pub(crate) fn new(
        program: Program,
        settings: &Settings,
        programs: &Programs,
        data_dir: &DataDir,
        ports: Ports,
    ) -> Result<Self, Error> {
        let (executable, name) = match program {
            Program::Nats => (programs.nats_server.clone(), "nats"),
            Program::Milvus => {
                let folder = programs.milvus_bin.as_ref();
                (folder.map(|folder| folder.join("milvus")), "milvus")
            }
        };
        let executable = executable.ok_or(Error::NotFetched { program })?;
        let folder = data_dir.path().join(name);
        std::fs::create_dir_all(&folder).map_err(|source| Error::DataDir {
            path: folder.clone(),
            source,
        })?;
        let folder = folder
            .into_os_string()
            .into_string()
            .map_err(|_| Error::DataDirName(data_dir.path().to_owned()))?;
        // The environment may configure a proxy, which must not be used for loopback.
        let http = reqwest::Client::builder().no_proxy().build();
        Ok(Self {
            program,
            executable,
            folder,
            ports,
            settings: settings.clone(),
            http: http.expect("a client without TLS needs no system resources"),
            running: None,
        })
    }

    /// Returns the address for clients. Restarts keep it.
    pub(crate) fn url(&self) -> String {
        match self.program {
            Program::Nats => format!("nats://127.0.0.1:{}", self.ports["nats"]),
            Program::Milvus => format!("http://127.0.0.1:{}", self.ports["milvus"]),
        }
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child().map(ChildProcess::pid)
    }

    pub(crate) fn child(&self) -> Option<&ChildProcess> {
        self.running.as_ref().map(|running| &running.child)
    }

    /// Removes and returns the process, which has ended.
    pub(crate) fn take_child(&mut self) -> Option<ChildProcess> {
        self.running.take().map(|running| running.child)
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        let name = match self.program {
            Program::Nats => "nats-server.log",
            Program::Milvus => "milvus.log",
        };
        Path::new(&self.folder).join(name)
    }

    /// Starts the process and waits until it is ready. After an error it does not run.
    pub(crate) async fn start(&mut self, progress: ServerProgress<'_>) -> Result<(), Error> {
        let program = self.program;
        progress(ServerStage::Starting { program });
        let begun = Instant::now();
        let running = match self.program {
            Program::Nats => RunningServer {
                child: self.spawn_nats().await?,
                traces: None,
            },
            Program::Milvus => {
                let child = self.spawn_milvus().await?;
                let traces = Some(MilvusTempFiles::for_process(child.pid()));
                RunningServer { child, traces }
            }
        };
        self.await_ready(&running.child).await?;
        if let Some(traces) = &running.traces {
            traces.remove_pid_file();
        }
        if let Some(sessions) = self.session_leases() {
            sessions.store_current().await;
        }
        let took = begun.elapsed();
        progress(ServerStage::Ready { program, took });
        tracing::info!(server = %program, url = self.url(), pid = running.child.pid(), ?took, "server is ready");
        self.running = Some(running);
        Ok(())
    }

    async fn spawn_nats(&self) -> Result<ChildProcess, Error> {
        rendered::write_nats_config(
            &self.folder,
            &self.ports,
            self.settings.max_file_store_bytes,
        )
        .map_err(|source| self.data_dir_error(source))?;
        let mut command = self.base_command();
        command.args(["--config", "nats-server.conf"]);
        self.spawn_child(command).await
    }

    async fn spawn_milvus(&self) -> Result<ChildProcess, Error> {
        runtime_dir::prepare_runtime_dirs()?;
        rendered::write_milvus_config(&self.folder, &self.ports)
            .map_err(|source| self.data_dir_error(source))?;
        let mut command = self.base_command();
        let libraries = self.executable.parent().unwrap_or(Path::new("."));
        command
            .args(["run", "standalone"])
            .env("LD_LIBRARY_PATH", libraries)
            .env("DYLD_LIBRARY_PATH", libraries)
            .env("DEPLOY_MODE", "STANDALONE")
            .env("METRICS_PORT", self.ports["milvus-metrics"].to_string())
            .env("MILVUSCONF", format!("{}/configs", self.folder))
            .env("MILVUS_RUN_DIR", format!("{}/run", self.folder));
        let program = self.program;
        let handshake = loopback::prepare_command(&mut command)
            .map_err(|source| Error::Spawn { program, source })?;
        let child = self.spawn_child(command).await?;
        handshake.serve_binds("Milvus");
        Ok(child)
    }

    /// Returns a command for the program in its folder, with a minimal environment.
    fn base_command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        command.current_dir(&self.folder).env_clear();
        for name in PASSED_ENVIRONMENT {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
    }

    async fn spawn_child(&self, command: Command) -> Result<ChildProcess, Error> {
        let mut log = LogFile::open(&self.log_path(), self.settings.max_log_file_bytes)
            .map_err(|source| self.data_dir_error(source))?;
        let child = ChildProcess::spawn(command, move |chunk| log.append_chunk(chunk)).await;
        child.map_err(|source| Error::Spawn {
            program: self.program,
            source,
        })
    }

    /// Returns the sessions of Milvus; nats-server has none.
    fn session_leases(&self) -> Option<SessionLeases<'_>> {
        (self.program == Program::Milvus).then(|| SessionLeases {
            http: &self.http,
            etcd_port: self.ports["milvus-etcd-client"],
            file: Path::new(&self.folder).join("sessions.json"),
        })
    }

    fn data_dir_error(&self, source: std::io::Error) -> Error {
        Error::DataDir {
            path: PathBuf::from(&self.folder),
            source,
        }
    }

    async fn await_ready(&self, child: &ChildProcess) -> Result<(), Error> {
        let limit = match self.program {
            Program::Nats => self.settings.nats_start_timeout,
            Program::Milvus => self.settings.milvus_start_timeout,
        };
        let mut last_answer = String::from("no probe has run yet");
        let answers = async {
            loop {
                match self.check_ready().await {
                    Ok(()) => return,
                    Err(reason) => last_answer = reason,
                }
                tokio::time::sleep(READINESS_POLL_INTERVAL).await;
            }
        };
        // Ends with `answers`.
        let replace_sessions = async {
            match self.session_leases() {
                Some(sessions) => sessions.replace_stored().await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            () = answers => return Ok(()),
            never = replace_sessions => match never {},
            status = child.wait_exit() => Some(status),
            () = tokio::time::sleep(limit) => None,
        };
        let program = self.program;
        let log_path = self.log_path();
        let log_tail = child.log_tail();
        Err(match ended {
            Some(status) => Error::EndedAtStart {
                program,
                status,
                log_tail,
                log_path,
            },
            None => Error::StartTimeout {
                program,
                limit,
                last_answer,
                log_tail,
                log_path,
            },
        })
    }

    async fn check_ready(&self) -> Result<(), String> {
        match self.program {
            Program::Nats => readiness::check_nats(self.ports["nats"]).await,
            Program::Milvus => {
                let metrics = self.ports["milvus-metrics"];
                readiness::check_milvus(&self.http, metrics, self.ports["milvus"]).await
            }
        }
    }

    /// Returns why a running server cannot work until it is restarted.
    pub(crate) async fn stuck_reason(&self) -> Option<String> {
        match (self.program, &self.running) {
            (Program::Nats, Some(_)) => {
                let health = self.ports["nats-health"];
                readiness::check_nats_store(&self.http, health).await.err()
            }
            (Program::Milvus, Some(_)) => self.check_ready().await.err(),
            _ => None,
        }
    }

    /// Sends SIGTERM and kills the process after the configured timeout. Returns when it has ended.
    pub(crate) async fn stop(&mut self) {
        let Some(child) = self.child() else {
            return;
        };
        let timeout = match self.program {
            Program::Nats => self.settings.nats_stop_timeout,
            Program::Milvus => self.settings.milvus_stop_timeout,
        };
        let begun = Instant::now();
        child.send_signal(libc::SIGTERM);
        let exited = tokio::time::timeout(timeout, child.wait_exit())
            .await
            .is_ok();
        if !exited {
            child.kill_and_wait().await;
        }
        // Only now, so that a dropped future leaves the process in this value.
        self.running = None;
        tracing::info!(server = %self.program, killed = !exited, took = ?begun.elapsed(), "server stopped");
    }

    /// Kills the process like a crash. Returns when it has ended.
    pub(crate) async fn kill(&mut self) {
        if let Some(child) = self.child() {
            child.kill_and_wait().await;
            self.running = None;
        }
    }
}

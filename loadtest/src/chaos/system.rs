//! The system under trial: servers, roles and the wires between them, and everything that is done
//! to them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::board::Board;
use super::faults::{Fault, Role, Server};
use super::operations::LIBRARIES;
use super::proxy::Proxy;
use crate::product::process::{self, Process};
use crate::product::up::Up;

/// How long a role that was told to leave may take.
const LEAVE_PATIENCE: Duration = Duration::from_secs(45);

/// A role that ended by itself is started again after this, as a service manager would.
const RESTART_WAIT: Duration = Duration::from_secs(1);

/// Why a role does or does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seat {
    /// It should run.
    Up,
    /// A fault keeps it down.
    Down,
    /// It was told to leave.
    Leaving(Instant),
    /// It ended by itself, or has left; it starts again then.
    Waiting(Instant),
}

/// A role's process and what should become of it.
#[derive(Debug)]
struct Place {
    seat: Seat,
    process: Option<Process>,
    starts: u32,
}

/// Everything that runs.
#[derive(Debug)]
pub struct System {
    program: PathBuf,
    dir: PathBuf,
    ack_wait: Duration,
    board: Board,
    up: Up,
    wires: BTreeMap<(Role, Server), Proxy>,
    places: BTreeMap<Role, Place>,
    paused: BTreeMap<Server, u32>,
}

impl System {
    /// Starts servers and roles. `dir` gets everything; the libraries lie in its `libraries`.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start(
        program: &Path,
        dir: &Path,
        roles: &[Role],
        ack_wait: Duration,
        board: &Board,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir.join("logs"))?;
        std::fs::create_dir_all(dir.join("servers/empty"))?;
        let data_dir = dir.join("servers/data");
        let mut library = OsString::from("empty=");
        library.push(dir.join("servers/empty"));
        let up = Up::start(
            program,
            &[library],
            dir,
            &data_dir,
            &dir.join("logs/up.log"),
        )
        .await?;
        let target = |key: &str| {
            let target = up.address(key)?.split("://").nth(1);
            let target = target.context("no address")?;
            anyhow::Ok(target.trim_end_matches('/').to_owned())
        };
        let (nats, milvus) = (target("nats_url")?, target("milvus_url")?);
        let mut wires = BTreeMap::new();
        for role in roles {
            for server in role.servers() {
                let target = match server {
                    Server::Nats => nats.clone(),
                    Server::Milvus => milvus.clone(),
                };
                wires.insert((*role, *server), Proxy::start(target).await?);
            }
        }
        let place = || Place {
            seat: Seat::Up,
            process: None,
            starts: 0,
        };
        let mut system = Self {
            program: program.to_owned(),
            dir: dir.to_owned(),
            ack_wait,
            board: board.clone(),
            up,
            wires,
            places: roles.iter().map(|role| (*role, place())).collect(),
            paused: BTreeMap::new(),
        };
        for role in roles {
            system.start_role(*role)?;
        }
        Ok(system)
    }

    fn data_dir(&self, role: Role) -> PathBuf {
        self.dir.join(format!("data-{role}"))
    }

    fn start_role(&mut self, role: Role) -> anyhow::Result<()> {
        let wire = |server| {
            let proxy = self.wires.get(&(role, server));
            proxy.map(Proxy::address)
        };
        let mut command = process::command(&self.program);
        command.arg(role.command());
        for library in LIBRARIES {
            let folder = self.dir.join("libraries").join(library);
            command.arg(format!("{library}={}", folder.display()));
        }
        command
            .args(["--listen", "127.0.0.1:0", "--log", "info,async_nats=warn"])
            .arg("--data-dir")
            .arg(self.data_dir(role));
        if let Some(nats) = wire(Server::Nats) {
            command.args(["--nats-url", &format!("nats://{nats}")]);
        }
        if let Some(milvus) = wire(Server::Milvus) {
            command.args(["--milvus-url", &format!("http://{milvus}")]);
        }
        command
            .env("LOOKALIKE_NATS_NAMESPACE", "chaos")
            .env("LOOKALIKE_MILVUS_NAMESPACE", "chaos")
            .env(
                "LOOKALIKE_NATS_ACK_WAIT",
                format!("{}ms", self.ack_wait.as_millis()),
            )
            // What the defaults leave for minutes must come within a short run.
            .env("LOOKALIKE_WATCH_RESCAN_INTERVAL", "20s")
            .env("LOOKALIKE_WATCH_OVERDUE", "10s")
            .env("LOOKALIKE_WATCH_BRAKE_WAIT", "15s")
            .env("LOOKALIKE_NATS_LEASE", "4s")
            .env("LOOKALIKE_AUDIT_INTERVAL", "30s")
            .current_dir(&self.dir);
        let place = self.places.get_mut(&role).context("a role of this run")?;
        let log = self
            .dir
            .join("logs")
            .join(format!("{role}.{:03}.log", place.starts));
        place.starts += 1;
        place.process = Some(Process::start(command, &log)?);
        place.seat = Seat::Up;
        if role == Role::Serve {
            self.disturb_serve(false);
        }
        Ok(())
    }

    fn disturb_serve(&self, is_disturbed: bool) {
        let mut notes = self.board.notes();
        notes.serve_is_disturbed = is_disturbed;
        notes.serve_disturbances += 1;
    }

    fn place(&mut self, role: Role) -> &mut Place {
        self.places.get_mut(&role).expect("a role of this run")
    }

    fn kill_role(&mut self, role: Role) {
        if role == Role::Serve {
            self.disturb_serve(true);
        }
        let place = self.place(role);
        place.seat = Seat::Down;
        if let Some(mut process) = place.process.take() {
            process.kill();
        }
        self.board.gone(role);
    }

    fn signal(&mut self, role: Role, signal: i32) {
        if let Some(process) = &self.place(role).process {
            process.signal(signal);
        }
    }

    fn server(&self, server: Server) -> Option<u32> {
        process::child(self.up.pid(), server.program())
    }

    fn wires_of(&self, role: Option<Role>, server: Server) -> impl Iterator<Item = &Proxy> {
        self.wires
            .iter()
            .filter(move |((of, to), _)| *to == server && role.is_none_or(|role| role == *of))
            .map(|(_, proxy)| proxy)
    }

    /// A fault begins.
    ///
    /// # Errors
    /// When the catalog can't be removed.
    pub fn begin(&mut self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Kill(role) => self.kill_role(role),
            Fault::LoseCatalog(role) => {
                self.kill_role(role);
                for entry in std::fs::read_dir(self.data_dir(role)).into_iter().flatten() {
                    let path = entry?.path();
                    let name = path.file_name().unwrap_or_default().to_string_lossy();
                    if name.starts_with("catalog.sqlite") {
                        std::fs::remove_file(&path)?;
                    }
                }
            }
            Fault::Leave(role) => {
                if role == Role::Serve {
                    self.disturb_serve(true);
                }
                if matches!(self.place(role).seat, Seat::Leaving(_)) {
                    return Ok(()); // A second signal would make it leave at once.
                }
                self.signal(role, libc::SIGTERM);
                let place = self.place(role);
                if place.process.is_some() {
                    place.seat = Seat::Leaving(Instant::now());
                }
            }
            Fault::Pause(role) => {
                if role == Role::Serve {
                    self.disturb_serve(true);
                }
                self.signal(role, libc::SIGSTOP);
            }
            Fault::Wire(role, server, trouble) => {
                for proxy in self.wires_of(role, server) {
                    proxy.trouble(Some(trouble));
                }
            }
            Fault::KillServer(server) => {
                if let Some(pid) = self.server(server) {
                    process::send(pid, libc::SIGKILL);
                }
            }
            Fault::PauseServer(server) => {
                if let Some(pid) = self.server(server) {
                    process::send(pid, libc::SIGSTOP);
                    self.paused.insert(server, pid);
                }
            }
        }
        Ok(())
    }

    /// A fault ends.
    ///
    /// # Errors
    /// When a role can't be started.
    pub fn end(&mut self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Kill(role) | Fault::LoseCatalog(role) => self.start_role(role)?,
            Fault::Pause(role) => {
                self.signal(role, libc::SIGCONT);
                if role == Role::Serve {
                    self.disturb_serve(false);
                }
            }
            Fault::Wire(role, server, _) => {
                for proxy in self.wires_of(role, server) {
                    proxy.trouble(None);
                }
            }
            Fault::PauseServer(server) => {
                if let Some(pid) = self.paused.remove(&server) {
                    process::send(pid, libc::SIGCONT);
                }
            }
            // Those end by themselves.
            Fault::Leave(_) | Fault::KillServer(_) => {}
        }
        Ok(())
    }

    /// Ends whatever is wrong.
    ///
    /// # Errors
    /// When a role can't be started.
    pub fn heal(&mut self) -> anyhow::Result<()> {
        for proxy in self.wires.values() {
            proxy.trouble(None);
        }
        for (_, pid) in std::mem::take(&mut self.paused) {
            process::send(pid, libc::SIGCONT);
        }
        let roles: Vec<Role> = self.places.keys().copied().collect();
        for role in roles {
            self.signal(role, libc::SIGCONT);
            if self.place(role).seat == Seat::Down {
                self.start_role(role)?;
            }
        }
        let is_up = self
            .places
            .get(&Role::Serve)
            .is_some_and(|place| place.seat == Seat::Up);
        if is_up {
            self.disturb_serve(false);
        }
        Ok(())
    }

    /// Looks after the processes: starts those again that ended, and notes where they listen.
    ///
    /// # Errors
    /// When a role can't be started, or the servers ended.
    pub fn tend(&mut self) -> anyhow::Result<()> {
        self.up.check()?;
        let now = Instant::now();
        let roles: Vec<Role> = self.places.keys().copied().collect();
        for role in roles {
            if !self.board.notes().addresses.contains_key(&role)
                && let Some(process) = &self.place(role).process
                && let Some(address) = process.address()
            {
                self.board.notes().addresses.insert(role, address);
            }
            let place = self.place(role);
            if let Seat::Waiting(until) = place.seat {
                if now >= until {
                    self.start_role(role)?;
                }
                continue;
            }
            let Some(process) = &mut place.process else {
                continue;
            };
            match (place.seat, process.ended()) {
                (Seat::Leaving(since), None) if since.elapsed() > LEAVE_PATIENCE => {
                    let tail = process.log_tail();
                    process.kill();
                    self.board.complain(format!(
                        "{role} did not leave within {} s of SIGTERM: {tail}",
                        LEAVE_PATIENCE.as_secs()
                    ));
                }
                (Seat::Leaving(since), Some(status)) => {
                    // One that was told to leave while it could not start says why it did not.
                    if !status.success() && process.address().is_some() {
                        let tail = process.log_tail();
                        self.board
                            .complain(format!("{role} left with {status}: {tail}"));
                    }
                    let took = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
                    self.board.add("milliseconds of leaving", took);
                    self.restart_later(role, now);
                }
                (_, Some(status)) => {
                    let tail = process.log_tail();
                    // One that can't start in the middle of a fault says so and ends; one that
                    // works must outlive every outage.
                    if process.address().is_some() {
                        self.board
                            .complain(format!("{role} ended by itself with {status}: {tail}"));
                    }
                    self.board.count("starts given up");
                    self.restart_later(role, now);
                }
                (_, None) => {}
            }
        }
        Ok(())
    }

    fn restart_later(&mut self, role: Role, now: Instant) {
        if role == Role::Serve {
            self.disturb_serve(true);
        }
        let place = self.place(role);
        place.process = None;
        place.seat = Seat::Waiting(now + RESTART_WAIT);
        self.board.gone(role);
    }

    /// Panics in what the roles said.
    ///
    /// # Errors
    /// When the logs can't be read.
    pub fn panics(&self) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.dir.join("logs"))? {
            let path = entry?.path();
            let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let lines = text.lines().filter(|line| line.contains("panicked at"));
            found.extend(lines.map(|line| format!("{name}: {line}")));
        }
        Ok(found)
    }

    /// Ends everything.
    pub async fn stop(mut self) {
        for place in self.places.values_mut() {
            if let Some(process) = &mut place.process {
                process.kill();
            }
        }
        self.up.stop().await;
    }
}

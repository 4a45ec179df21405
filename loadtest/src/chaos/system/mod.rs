//! The system under test: servers, roles and the proxies between them, and the faults applied to them.

pub mod folders;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lookalike_test_support::process::{child_processes, product_command, send_signal};
use lookalike_test_support::{Process, Proxy, Wire};

use crate::chaos::observe::recorder::Recorder;
use crate::chaos::plan::faults::{Fault, RoleProcess, SharedServer};
use crate::chaos::plan::operations::LIBRARIES;
use crate::product::up::UpProcess;

/// How long a role may take to exit after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(45);

/// Delay before an exited role is restarted, as a service manager would do.
const RESTART_DELAY: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SlotState {
    Running,
    /// A fault keeps the role down.
    Down,
    /// SIGTERM was sent at this time.
    Stopping(Instant),
    /// The process has exited; the role restarts at this time.
    RestartPending(Instant),
}

/// A role's process and its intended state.
#[derive(Debug)]
struct RoleSlot {
    state: SlotState,
    process: Option<Process>,
    starts: u32,
}

#[derive(Debug)]
pub struct ChaosSystem {
    program: PathBuf,
    dir: PathBuf,
    ack_wait: Duration,
    recorder: Recorder,
    up: UpProcess,
    proxies: BTreeMap<(RoleProcess, SharedServer), Proxy>,
    slots: BTreeMap<RoleProcess, RoleSlot>,
    paused_servers: BTreeMap<SharedServer, u32>,
}

impl ChaosSystem {
    /// Starts servers and roles. All data is stored in `dir`; its folder `libraries` contains the libraries.
    pub async fn start(
        program: &Path,
        dir: &Path,
        roles: &[RoleProcess],
        ack_wait: Duration,
        recorder: &Recorder,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir.join("logs"))?;
        std::fs::create_dir_all(dir.join("servers/empty"))?;
        let data_dir = dir.join("servers/data");
        let mut library = OsString::from("empty=");
        library.push(dir.join("servers/empty"));
        let up = UpProcess::start(
            program,
            &[library],
            dir,
            &data_dir,
            &dir.join("logs/up.log"),
        )
        .await?;
        let target = |key: &str| anyhow::Ok(up.address_of(key)?.trim_end_matches('/'));
        let (nats, milvus) = (target("nats_url")?, target("milvus_url")?);
        let mut proxies = BTreeMap::new();
        for role in roles {
            for server in role.used_servers() {
                let target = match server {
                    SharedServer::Nats => nats,
                    SharedServer::Milvus => milvus,
                };
                proxies.insert((*role, *server), Proxy::in_front_of(target)?);
            }
        }
        let new_slot = || RoleSlot {
            state: SlotState::Running,
            process: None,
            starts: 0,
        };
        let mut system = Self {
            program: program.to_owned(),
            dir: dir.to_owned(),
            ack_wait,
            recorder: recorder.clone(),
            up,
            proxies,
            slots: roles.iter().map(|role| (*role, new_slot())).collect(),
            paused_servers: BTreeMap::new(),
        };
        for role in roles {
            system.start_role(*role)?;
        }
        Ok(system)
    }

    fn data_dir(&self, role: RoleProcess) -> PathBuf {
        self.dir.join(format!("data-{role}"))
    }

    fn start_role(&mut self, role: RoleProcess) -> anyhow::Result<()> {
        let mut command = product_command(&self.program);
        command.arg(role.command_name());
        for library in LIBRARIES {
            let folder = self.dir.join("libraries").join(library);
            command.arg(format!("{library}={}", folder.display()));
        }
        command
            .args(["--listen", "127.0.0.1:0", "--log", "info,async_nats=warn"])
            .arg("--data-dir")
            .arg(self.data_dir(role));
        if let Some(nats) = self.proxies.get(&(role, SharedServer::Nats)) {
            command.args(["--nats-url", &nats.url("nats")]);
        }
        if let Some(milvus) = self.proxies.get(&(role, SharedServer::Milvus)) {
            command.args(["--milvus-url", &milvus.url("http")]);
        }
        command
            .env("LOOKALIKE_NATS_NAMESPACE", "chaos")
            .env("LOOKALIKE_MILVUS_NAMESPACE", "chaos")
            .env("LOOKALIKE_VISION_MODEL", "lookalike-mini")
            .env(
                "LOOKALIKE_NATS_ACK_WAIT",
                format!("{}ms", self.ack_wait.as_millis()),
            )
            // Shorter intervals than the defaults, so that each happens within a short run.
            .env("LOOKALIKE_WATCH_RESCAN_INTERVAL", "20s")
            .env("LOOKALIKE_WATCH_OVERDUE_TIMEOUT", "10s")
            .env("LOOKALIKE_WATCH_MASS_DELETE_CONFIRM_AFTER", "15s")
            .env("LOOKALIKE_NATS_LEASE_TIMEOUT", "4s")
            .env("LOOKALIKE_AUDIT_INTERVAL", "30s")
            .current_dir(&self.dir);
        let slot = self.slots.get_mut(&role).context("a role of this run")?;
        let log = self
            .dir
            .join("logs")
            .join(format!("{role}.{:03}.log", slot.starts));
        slot.starts += 1;
        let process = Process::start(command, &log)
            .with_context(|| format!("cannot start {role} with the log {}", log.display()))?;
        slot.process = Some(process);
        slot.state = SlotState::Running;
        if role == RoleProcess::Serve {
            self.disturb_serve(false);
        }
        Ok(())
    }

    fn disturb_serve(&self, is_disturbed: bool) {
        let mut records = self.recorder.lock_records();
        records.serve_is_disturbed = is_disturbed;
        records.serve_disturbances += 1;
    }

    fn slot_mut(&mut self, role: RoleProcess) -> &mut RoleSlot {
        self.slots.get_mut(&role).expect("a role of this run")
    }

    fn kill_role(&mut self, role: RoleProcess) {
        if role == RoleProcess::Serve {
            self.disturb_serve(true);
        }
        let slot = self.slot_mut(role);
        slot.state = SlotState::Down;
        if let Some(mut process) = slot.process.take() {
            process.kill_process();
        }
        self.recorder.record_role_end(role);
    }

    fn signal_role(&mut self, role: RoleProcess, signal: i32) {
        if let Some(process) = &self.slot_mut(role).process {
            // A role that has exited is restarted anyway.
            send_signal(process.pid(), signal);
        }
    }

    fn server_pid(&self, server: SharedServer) -> Option<u32> {
        child_processes(self.up.pid())
            .into_iter()
            .find(|(_, name)| name == server.program_name())
            .map(|(pid, _)| pid)
    }

    fn matching_proxies(
        &self,
        role: Option<RoleProcess>,
        server: SharedServer,
    ) -> impl Iterator<Item = &Proxy> {
        self.proxies
            .iter()
            .filter(move |((of, to), _)| *to == server && role.is_none_or(|role| role == *of))
            .map(|(_, proxy)| proxy)
    }

    pub fn begin_fault(&mut self, fault: Fault) -> anyhow::Result<()> {
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
            Fault::Terminate(role) => {
                if role == RoleProcess::Serve {
                    self.disturb_serve(true);
                }
                if matches!(self.slot_mut(role).state, SlotState::Stopping(_)) {
                    return Ok(()); // A second signal would make it leave at once.
                }
                self.signal_role(role, libc::SIGTERM);
                let slot = self.slot_mut(role);
                if slot.process.is_some() {
                    slot.state = SlotState::Stopping(Instant::now());
                }
            }
            Fault::Pause(role) => {
                if role == RoleProcess::Serve {
                    self.disturb_serve(true);
                }
                self.signal_role(role, libc::SIGSTOP);
            }
            Fault::Connection(role, server, wire) => {
                for proxy in self.matching_proxies(role, server) {
                    proxy.set_wire(wire);
                }
            }
            Fault::KillServer(server) => {
                if let Some(pid) = self.server_pid(server) {
                    send_signal(pid, libc::SIGKILL);
                }
            }
            Fault::PauseServer(server) => {
                if let Some(pid) = self.server_pid(server) {
                    send_signal(pid, libc::SIGSTOP);
                    self.paused_servers.insert(server, pid);
                }
            }
        }
        Ok(())
    }

    pub fn end_fault(&mut self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Kill(role) | Fault::LoseCatalog(role) => self.start_role(role)?,
            Fault::Pause(role) => {
                self.signal_role(role, libc::SIGCONT);
                if role == RoleProcess::Serve {
                    self.disturb_serve(false);
                }
            }
            Fault::Connection(role, server, _) => {
                for proxy in self.matching_proxies(role, server) {
                    proxy.set_wire(Wire::Intact);
                }
            }
            Fault::PauseServer(server) => {
                if let Some(pid) = self.paused_servers.remove(&server) {
                    send_signal(pid, libc::SIGCONT);
                }
            }
            // These end without an action.
            Fault::Terminate(_) | Fault::KillServer(_) => {}
        }
        Ok(())
    }

    pub fn end_all_faults(&mut self) -> anyhow::Result<()> {
        for proxy in self.proxies.values() {
            proxy.set_wire(Wire::Intact);
        }
        for (_, pid) in std::mem::take(&mut self.paused_servers) {
            send_signal(pid, libc::SIGCONT);
        }
        let roles: Vec<RoleProcess> = self.slots.keys().copied().collect();
        for role in roles {
            self.signal_role(role, libc::SIGCONT);
            if self.slot_mut(role).state == SlotState::Down {
                self.start_role(role)?;
            }
        }
        let is_up = self
            .slots
            .get(&RoleProcess::Serve)
            .is_some_and(|place| place.state == SlotState::Running);
        if is_up {
            self.disturb_serve(false);
        }
        Ok(())
    }

    /// Restarts roles that have exited, and records the addresses of roles that listen. Fails if `up` has exited.
    pub fn tend_processes(&mut self) -> anyhow::Result<()> {
        self.up.ensure_running()?;
        let now = Instant::now();
        let roles: Vec<RoleProcess> = self.slots.keys().copied().collect();
        for role in roles {
            if !self.recorder.lock_records().addresses.contains_key(&role)
                && let Some(process) = &self.slot_mut(role).process
                && let Some(address) = logged_address(process)
            {
                self.recorder.lock_records().addresses.insert(role, address);
            }
            let slot = self.slot_mut(role);
            if let SlotState::RestartPending(until) = slot.state {
                if now >= until {
                    self.start_role(role)?;
                }
                continue;
            }
            let Some(process) = &mut slot.process else {
                continue;
            };
            match (slot.state, process.exit_status()) {
                (SlotState::Stopping(since), None) if since.elapsed() > STOP_TIMEOUT => {
                    let tail = process.log_tail();
                    process.kill_process();
                    self.recorder.record_violation(format!(
                        "{role} did not exit within {} s after SIGTERM: {tail}",
                        STOP_TIMEOUT.as_secs()
                    ));
                }
                (SlotState::Stopping(since), Some(status)) => {
                    // A role that was still starting exits with the error that kept it from starting.
                    if !status.success() && logged_address(process).is_some() {
                        let tail = process.log_tail();
                        self.recorder.record_violation(format!(
                            "{role} exited after SIGTERM with {status}: {tail}"
                        ));
                    }
                    let took = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
                    self.recorder.add_count("milliseconds until exit", took);
                    self.restart_later(role, now);
                }
                (_, Some(status)) => {
                    let tail = process.log_tail();
                    // A role that cannot start during a fault may exit with an error. A role
                    // that has started must survive every outage.
                    if logged_address(process).is_some() {
                        self.recorder.record_violation(format!(
                            "{role} exited unexpectedly with {status}: {tail}"
                        ));
                    }
                    self.recorder.count_one("failed starts");
                    self.restart_later(role, now);
                }
                (_, None) => {}
            }
        }
        Ok(())
    }

    fn restart_later(&mut self, role: RoleProcess, now: Instant) {
        if role == RoleProcess::Serve {
            self.disturb_serve(true);
        }
        let slot = self.slot_mut(role);
        slot.process = None;
        slot.state = SlotState::RestartPending(now + RESTART_DELAY);
        self.recorder.record_role_end(role);
    }

    /// Returns the log lines that report panics.
    pub fn find_panics(&self) -> anyhow::Result<Vec<String>> {
        let mut panics = Vec::new();
        for entry in std::fs::read_dir(self.dir.join("logs"))? {
            let path = entry?.path();
            let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let lines = text.lines().filter(|line| line.contains("panicked at"));
            panics.extend(lines.map(|line| format!("{name}: {line}")));
        }
        Ok(panics)
    }

    pub async fn stop(mut self) {
        for slot in self.slots.values_mut() {
            if let Some(process) = &mut slot.process {
                process.kill_process();
            }
        }
        self.up.stop().await;
    }
}

/// Returns the URL of the address that a role logged when it started to listen.
fn logged_address(role: &Process) -> Option<String> {
    let keys = ["metrics=", "address="];
    keys.iter().find_map(|key| role.logged_url(key))
}

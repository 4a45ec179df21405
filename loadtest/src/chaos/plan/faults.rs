//! Random faults: which part fails, how, when and for how long. They depend on the seed only.
//!
//! Several faults are active at once, but each part has at most one.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use lookalike_painter::paint::Random;
use lookalike_test_support::Wire;

/// A process of lookalike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoleProcess {
    Watch,
    /// A second watcher of the same folders, with its own data folder.
    Standby,
    EmbedOne,
    EmbedTwo,
    Serve,
}

impl RoleProcess {
    /// All processes; the standby is last.
    pub const ALL: [Self; 5] = [
        Self::Watch,
        Self::EmbedOne,
        Self::EmbedTwo,
        Self::Serve,
        Self::Standby,
    ];

    pub fn command_name(self) -> &'static str {
        match self {
            Self::Watch | Self::Standby => "watch",
            Self::EmbedOne | Self::EmbedTwo => "embed",
            Self::Serve => "serve",
        }
    }

    pub fn used_servers(self) -> &'static [SharedServer] {
        match self {
            Self::Watch | Self::Standby => &[SharedServer::Nats],
            _ => &[SharedServer::Nats, SharedServer::Milvus],
        }
    }
}

impl fmt::Display for RoleProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Watch => "watch",
            Self::Standby => "watch-2",
            Self::EmbedOne => "embed-1",
            Self::EmbedTwo => "embed-2",
            Self::Serve => "serve",
        })
    }
}

/// A server that the roles share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SharedServer {
    Nats,
    Milvus,
}

impl SharedServer {
    pub fn program_name(self) -> &'static str {
        match self {
            Self::Nats => "nats-server",
            Self::Milvus => "milvus",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL of a role; it is restarted at the end.
    Kill(RoleProcess),
    /// SIGTERM of a role; it is restarted once it has exited.
    Terminate(RoleProcess),
    /// SIGSTOP of a role, and SIGCONT at the end.
    Pause(RoleProcess),
    /// SIGKILL of a watcher; its catalog is deleted before the restart.
    LoseCatalog(RoleProcess),
    /// Disturbs the connection between one role, or all of them, and a server.
    Connection(Option<RoleProcess>, SharedServer, Wire),
    /// SIGKILL of a server; `up` restarts it.
    KillServer(SharedServer),
    /// SIGSTOP of a server, and SIGCONT at the end.
    PauseServer(SharedServer),
}

impl Fault {
    /// Returns the kind's name in the report.
    pub fn kind_name(self) -> String {
        match self {
            Self::Kill(role) => format!("kill {}", role.command_name()),
            Self::Terminate(role) => format!("terminate {}", role.command_name()),
            Self::Pause(role) => format!("pause {}", role.command_name()),
            Self::LoseCatalog(_) => "lose the catalog".to_owned(),
            Self::Connection(_, server, wire) => {
                let wire = match wire {
                    Wire::Intact => "intact",
                    Wire::Slow(_) => "slow",
                    Wire::Frozen => "frozen",
                    Wire::Cut => "cut",
                    Wire::HalfOpen => "half-open",
                    Wire::Answerless => "answerless",
                };
                format!("{wire} connection to {}", server.program_name())
            }
            Self::KillServer(server) => format!("kill {}", server.program_name()),
            Self::PauseServer(server) => format!("pause {}", server.program_name()),
        }
    }
}

/// A fault with its times, relative to the start of the faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedFault {
    pub from: Duration,
    pub until: Duration,
    pub fault: Fault,
}

const MAX_CONCURRENT_FAULTS: usize = 4;

/// Time that Milvus needs to serve again after a kill; it is not killed again within it.
const MILVUS_RECOVERY_TIME: Duration = Duration::from_secs(60);

/// Draws all faults of a run, sorted by their start.
///
/// JetStream redelivers an event after `ack_wait`; some pauses are longer than that, some shorter.
pub fn plan_faults(
    seed: u64,
    length: Duration,
    roles: &[RoleProcess],
    ack_wait: Duration,
) -> Vec<PlannedFault> {
    let mut random = Random::new(seed, 3);
    let mut planned: Vec<PlannedFault> = Vec::new();
    let mut milvus_killed: Option<Duration> = None;
    let mut busy: BTreeMap<String, Duration> = BTreeMap::new();
    let mut now = Duration::from_secs(2);
    while now + Duration::from_secs(3) < length {
        let (fault, duration) = draw_fault(&mut random, roles, ack_wait);
        let until = (now + duration).min(length);
        let in_progress = planned.iter().filter(|other| other.until > now).count();
        let parts = affected_parts(fault, roles);
        let is_free = parts
            .iter()
            .all(|part| busy.get(part).is_none_or(|until| *until <= now));
        let milvus_recovers = fault == Fault::KillServer(SharedServer::Milvus)
            && milvus_killed.is_some_and(|killed| killed + MILVUS_RECOVERY_TIME > now);
        if in_progress < MAX_CONCURRENT_FAULTS && is_free && !milvus_recovers {
            if fault == Fault::KillServer(SharedServer::Milvus) {
                milvus_killed = Some(now);
            }
            for part in parts {
                busy.insert(part, until);
            }
            planned.push(PlannedFault {
                from: now,
                until,
                fault,
            });
        }
        now += Duration::from_millis(u64::from(random.int_between(200, 2500)));
    }
    planned
}

/// Returns the names of the parts that a fault occupies.
fn affected_parts(fault: Fault, roles: &[RoleProcess]) -> Vec<String> {
    match fault {
        Fault::Kill(role)
        | Fault::Terminate(role)
        | Fault::Pause(role)
        | Fault::LoseCatalog(role) => {
            vec![role.to_string()]
        }
        Fault::Connection(Some(role), server, _) => {
            vec![format!("{role} {}", server.program_name())]
        }
        Fault::Connection(None, server, _) => {
            let proxies = roles
                .iter()
                .map(|role| format!("{role} {}", server.program_name()));
            proxies.collect()
        }
        Fault::KillServer(server) | Fault::PauseServer(server) => {
            vec![server.program_name().to_owned()]
        }
    }
}

fn draw_fault(random: &mut Random, roles: &[RoleProcess], ack_wait: Duration) -> (Fault, Duration) {
    let role = random.choose_from(roles);
    let watcher = match roles.contains(&RoleProcess::Standby) && random.next_bool(0.3) {
        true => RoleProcess::Standby,
        false => RoleProcess::Watch,
    };
    let server = match random.next_bool(0.6) {
        true => SharedServer::Nats,
        false => SharedServer::Milvus,
    };
    let wire = match random.int_between(0, 3) {
        0 => Wire::Cut,
        1 => Wire::HalfOpen,
        2 => Wire::Frozen,
        _ => Wire::Slow(Duration::from_millis(u64::from(
            random.int_between(20, 400),
        ))),
    };
    let short = Duration::from_millis(u64::from(random.int_between(200, 4000)));
    match random.int_between(0, 99) {
        0..=24 => (Fault::Kill(role), short),
        25..=31 => (Fault::Terminate(role), Duration::from_secs(4)),
        32..=47 => {
            let duration = match random.next_bool(0.6) {
                true => ack_wait + short,
                false => short,
            };
            (Fault::Pause(role), duration)
        }
        48..=52 => (Fault::LoseCatalog(watcher), short),
        53..=76 => {
            let server = match role.used_servers().contains(&server) {
                true => server,
                false => SharedServer::Nats,
            };
            (Fault::Connection(Some(role), server, wire), short * 3)
        }
        77..=84 => (Fault::Connection(None, server, wire), short * 2),
        85..=91 => (Fault::KillServer(SharedServer::Nats), short),
        92..=94 => (Fault::KillServer(SharedServer::Milvus), short),
        _ => (Fault::PauseServer(server), short),
    }
}

//! What goes wrong, at random: which part, how, when and for how long, drawn from the seed alone.
//!
//! Several faults are under way at once, but each part has one at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use lookalike_painter::paint::Random;

/// A process of lookalike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoleProcess {
    /// The watcher.
    Watch,
    /// A second watcher over the same folders, with a data folder of its own.
    Standby,
    /// An embedder.
    EmbedOne,
    /// Another one.
    EmbedTwo,
    /// API and page.
    Serve,
}

impl RoleProcess {
    /// All, the standby last.
    pub const ALL: [Self; 5] = [
        Self::Watch,
        Self::EmbedOne,
        Self::EmbedTwo,
        Self::Serve,
        Self::Standby,
    ];

    /// The command that runs it.
    pub fn command_name(self) -> &'static str {
        match self {
            Self::Watch | Self::Standby => "watch",
            Self::EmbedOne | Self::EmbedTwo => "embed",
            Self::Serve => "serve",
        }
    }

    /// The servers that it talks to.
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
    /// nats-server.
    Nats,
    /// Milvus.
    Milvus,
}

impl SharedServer {
    /// What its process is called.
    pub fn program_name(self) -> &'static str {
        match self {
            Self::Nats => "nats-server",
            Self::Milvus => "milvus",
        }
    }
}

/// What is wrong with a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireTrouble {
    /// Every connection is closed, and new ones are at once.
    Cut,
    /// Connections stand, and what is sent gets lost.
    HalfOpen,
    /// Nothing moves, and all of it comes later.
    Frozen,
    /// Every piece comes so much later.
    Slow(Duration),
}

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// kill -9 of a role, started again at the end.
    Kill(RoleProcess),
    /// SIGTERM, and started again once it has left.
    Terminate(RoleProcess),
    /// SIGSTOP, and SIGCONT at the end.
    Pause(RoleProcess),
    /// kill -9 of the watcher; its catalog is removed before it starts again.
    LoseCatalog(RoleProcess),
    /// Trouble on the wire between a role, or all of them, and a server.
    Wire(Option<RoleProcess>, SharedServer, WireTrouble),
    /// kill -9 of a server, which `up` starts again.
    KillServer(SharedServer),
    /// SIGSTOP of a server, and SIGCONT at the end.
    PauseServer(SharedServer),
}

impl Fault {
    /// For the report.
    pub fn kind_name(self) -> String {
        match self {
            Self::Kill(role) => format!("kill {}", role.command_name()),
            Self::Terminate(role) => format!("terminate {}", role.command_name()),
            Self::Pause(role) => format!("pause {}", role.command_name()),
            Self::LoseCatalog(_) => "lose the catalog".to_owned(),
            Self::Wire(_, server, trouble) => {
                let trouble = match trouble {
                    WireTrouble::Cut => "cut",
                    WireTrouble::HalfOpen => "half-open",
                    WireTrouble::Frozen => "frozen",
                    WireTrouble::Slow(_) => "slow",
                };
                format!("{trouble} wire to {}", server.program_name())
            }
            Self::KillServer(server) => format!("kill {}", server.program_name()),
            Self::PauseServer(server) => format!("pause {}", server.program_name()),
        }
    }
}

/// A fault with its time, from the start of the trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedFault {
    /// It begins.
    pub from: Duration,
    /// It ends.
    pub until: Duration,
    /// What.
    pub fault: Fault,
}

/// At most so many at once.
const MAX_CONCURRENT_FAULTS: usize = 4;

/// How long Milvus needs to serve again after a kill; it is not killed again before.
const MILVUS_RECOVERY_TIME: Duration = Duration::from_secs(60);

/// Draws all faults of a run, in the order of their beginnings.
///
/// `ack_wait` is the time after which an event goes to another worker: pauses are longer than
/// that, or shorter.
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

/// The parts that a fault takes hold of.
fn affected_parts(fault: Fault, roles: &[RoleProcess]) -> Vec<String> {
    match fault {
        Fault::Kill(role)
        | Fault::Terminate(role)
        | Fault::Pause(role)
        | Fault::LoseCatalog(role) => {
            vec![role.to_string()]
        }
        Fault::Wire(Some(role), server, _) => vec![format!("{role} {}", server.program_name())],
        Fault::Wire(None, server, _) => {
            let wires = roles
                .iter()
                .map(|role| format!("{role} {}", server.program_name()));
            wires.collect()
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
    let trouble = match random.int_between(0, 3) {
        0 => WireTrouble::Cut,
        1 => WireTrouble::HalfOpen,
        2 => WireTrouble::Frozen,
        _ => WireTrouble::Slow(Duration::from_millis(u64::from(
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
            (Fault::Wire(Some(role), server, trouble), short * 3)
        }
        77..=84 => (Fault::Wire(None, server, trouble), short * 2),
        85..=91 => (Fault::KillServer(SharedServer::Nats), short),
        92..=94 => (Fault::KillServer(SharedServer::Milvus), short),
        _ => (Fault::PauseServer(server), short),
    }
}

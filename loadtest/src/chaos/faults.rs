//! What goes wrong, at random: which part, how, when and for how long, drawn from the seed alone.
//!
//! Several faults are under way at once, but each part has one at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::paint::Random;

/// A process of lookalike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
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

impl Role {
    /// All, the standby last.
    pub const ALL: [Self; 5] = [
        Self::Watch,
        Self::EmbedOne,
        Self::EmbedTwo,
        Self::Serve,
        Self::Standby,
    ];

    /// The command that runs it.
    pub fn command(self) -> &'static str {
        match self {
            Self::Watch | Self::Standby => "watch",
            Self::EmbedOne | Self::EmbedTwo => "embed",
            Self::Serve => "serve",
        }
    }

    /// The servers that it talks to.
    pub fn servers(self) -> &'static [Server] {
        match self {
            Self::Watch | Self::Standby => &[Server::Nats],
            _ => &[Server::Nats, Server::Milvus],
        }
    }
}

impl fmt::Display for Role {
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
pub enum Server {
    /// nats-server.
    Nats,
    /// Milvus.
    Milvus,
}

impl Server {
    /// What its process is called.
    pub fn program(self) -> &'static str {
        match self {
            Self::Nats => "nats-server",
            Self::Milvus => "milvus",
        }
    }
}

/// What is wrong with a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
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
    Kill(Role),
    /// SIGTERM, and started again once it has left.
    Leave(Role),
    /// SIGSTOP, and SIGCONT at the end.
    Pause(Role),
    /// kill -9 of the watcher; its catalog is removed before it starts again.
    LoseCatalog(Role),
    /// Trouble on the wire between a role, or all of them, and a server.
    Wire(Option<Role>, Server, Trouble),
    /// kill -9 of a server, which `up` starts again.
    KillServer(Server),
    /// SIGSTOP of a server, and SIGCONT at the end.
    PauseServer(Server),
}

impl Fault {
    /// For the report.
    pub fn kind(self) -> String {
        match self {
            Self::Kill(role) => format!("kill {}", role.command()),
            Self::Leave(role) => format!("terminate {}", role.command()),
            Self::Pause(role) => format!("pause {}", role.command()),
            Self::LoseCatalog(_) => "lose the catalog".to_owned(),
            Self::Wire(_, server, trouble) => {
                let trouble = match trouble {
                    Trouble::Cut => "cut",
                    Trouble::HalfOpen => "half-open",
                    Trouble::Frozen => "frozen",
                    Trouble::Slow(_) => "slow",
                };
                format!("{trouble} wire to {}", server.program())
            }
            Self::KillServer(server) => format!("kill {}", server.program()),
            Self::PauseServer(server) => format!("pause {}", server.program()),
        }
    }
}

/// A fault with its time, from the start of the trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// It begins.
    pub from: Duration,
    /// It ends.
    pub until: Duration,
    /// What.
    pub fault: Fault,
}

/// At most so many at once.
const AT_ONCE: usize = 4;

/// How long Milvus needs to serve again after a kill; it is not killed again before.
const MILVUS_RECOVERS: Duration = Duration::from_secs(60);

/// Draws all faults of a run, in the order of their beginnings.
///
/// `ack_wait` is the time after which an event goes to another worker: pauses are longer than
/// that, or shorter.
pub fn plan(seed: u64, length: Duration, roles: &[Role], ack_wait: Duration) -> Vec<Planned> {
    let mut random = Random::new(seed, 3);
    let mut planned: Vec<Planned> = Vec::new();
    let mut milvus_killed: Option<Duration> = None;
    let mut busy: BTreeMap<String, Duration> = BTreeMap::new();
    let mut now = Duration::from_secs(2);
    while now + Duration::from_secs(3) < length {
        let (fault, lasts) = draw(&mut random, roles, ack_wait);
        let until = (now + lasts).min(length);
        let under_way = planned.iter().filter(|other| other.until > now).count();
        let parts = parts(fault, roles);
        let is_free = parts
            .iter()
            .all(|part| busy.get(part).is_none_or(|until| *until <= now));
        let milvus_recovers = fault == Fault::KillServer(Server::Milvus)
            && milvus_killed.is_some_and(|killed| killed + MILVUS_RECOVERS > now);
        if under_way < AT_ONCE && is_free && !milvus_recovers {
            if fault == Fault::KillServer(Server::Milvus) {
                milvus_killed = Some(now);
            }
            for part in parts {
                busy.insert(part, until);
            }
            planned.push(Planned {
                from: now,
                until,
                fault,
            });
        }
        now += Duration::from_millis(u64::from(random.whole(200, 2500)));
    }
    planned
}

/// The parts that a fault takes hold of.
fn parts(fault: Fault, roles: &[Role]) -> Vec<String> {
    match fault {
        Fault::Kill(role) | Fault::Leave(role) | Fault::Pause(role) | Fault::LoseCatalog(role) => {
            vec![role.to_string()]
        }
        Fault::Wire(Some(role), server, _) => vec![format!("{role} {}", server.program())],
        Fault::Wire(None, server, _) => {
            let wires = roles
                .iter()
                .map(|role| format!("{role} {}", server.program()));
            wires.collect()
        }
        Fault::KillServer(server) | Fault::PauseServer(server) => {
            vec![server.program().to_owned()]
        }
    }
}

fn draw(random: &mut Random, roles: &[Role], ack_wait: Duration) -> (Fault, Duration) {
    let role = random.choose(roles);
    let watcher = match roles.contains(&Role::Standby) && random.chance(0.3) {
        true => Role::Standby,
        false => Role::Watch,
    };
    let server = match random.chance(0.6) {
        true => Server::Nats,
        false => Server::Milvus,
    };
    let trouble = match random.whole(0, 3) {
        0 => Trouble::Cut,
        1 => Trouble::HalfOpen,
        2 => Trouble::Frozen,
        _ => Trouble::Slow(Duration::from_millis(u64::from(random.whole(20, 400)))),
    };
    let short = Duration::from_millis(u64::from(random.whole(200, 4000)));
    match random.whole(0, 99) {
        0..=24 => (Fault::Kill(role), short),
        25..=31 => (Fault::Leave(role), Duration::from_secs(4)),
        32..=47 => {
            let lasts = match random.chance(0.6) {
                true => ack_wait + short,
                false => short,
            };
            (Fault::Pause(role), lasts)
        }
        48..=52 => (Fault::LoseCatalog(watcher), short),
        53..=76 => {
            let server = match role.servers().contains(&server) {
                true => server,
                false => Server::Nats,
            };
            (Fault::Wire(Some(role), server, trouble), short * 3)
        }
        77..=84 => (Fault::Wire(None, server, trouble), short * 2),
        85..=91 => (Fault::KillServer(Server::Nats), short),
        92..=94 => (Fault::KillServer(Server::Milvus), short),
        _ => (Fault::PauseServer(server), short),
    }
}

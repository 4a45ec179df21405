//! What is wanted, and what is being done about it: the words between this crate and a terminal.

use std::fmt;
use std::time::Duration;

/// A program that this crate fetches and runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Program {
    /// nats-server, with JetStream.
    Nats,
    /// Milvus, standalone, with its etcd and its queue inside.
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

/// Which programs the caller wants from us; the others are run by someone else, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedServers {
    /// A nats-server of our own.
    pub nats: bool,
    /// A Milvus of our own.
    pub milvus: bool,
}

impl WantedServers {
    /// Both servers.
    pub const ALL: Self = Self {
        nats: true,
        milvus: true,
    };

    /// The wanted programs, in the order in which they are fetched.
    pub(crate) fn programs(self) -> impl Iterator<Item = Program> {
        let nats = self.nats.then_some(Program::Nats);
        let milvus = self.milvus.then_some(Program::Milvus);
        nats.into_iter().chain(milvus)
    }
}

/// One step of fetching or starting, for people who wait. `Display` gives a plain line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerStage {
    /// Another process is filling the same cache folder; it goes on when that is done.
    WaitingForCacheLock,
    /// A program is being downloaded.
    Fetching {
        /// The program.
        program: Program,
    },
    /// A program is being unpacked. Told again as it proceeds.
    Unpacking {
        /// The program.
        program: Program,
        /// How much of it is done, 0 to 100.
        percent: u8,
    },
    /// A server's process is being started.
    Starting {
        /// The server.
        program: Program,
    },
    /// A server answers.
    Ready {
        /// The server.
        program: Program,
        /// The time from `Starting` to the first good answer.
        took: Duration,
    },
}

impl fmt::Display for ServerStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WaitingForCacheLock => {
                f.write_str("waiting for another lookalike that is fetching the servers")
            }
            Self::Fetching { program: what } => write!(f, "fetching {what} (once)"),
            Self::Unpacking {
                program: what,
                percent,
            } => write!(f, "unpacking {what} ({percent} %)"),
            Self::Starting { program: what } => write!(f, "starting {what}"),
            Self::Ready {
                program: what,
                took,
            } => {
                write!(f, "{what} is ready after {:.1} s", took.as_secs_f64())
            }
        }
    }
}

/// Is told each [`ServerStage`] as it begins; must return at once.
pub type ServerProgress<'a> = &'a (dyn Fn(ServerStage) + Sync);

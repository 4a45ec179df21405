//! How fresh the answer of a read must be.

use milvus::v2::prelude::ConsistencyLevel;

/// Required freshness of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ReadConsistency {
    /// The answer may lag behind the last write by the server's time tick (50 to 200 ms), at most
    /// by its graceful time.
    #[default]
    Bounded,
    /// Includes every write answered before, at the cost of waiting for one time tick.
    Strong,
}

impl ReadConsistency {
    pub(crate) fn to_milvus(self) -> ConsistencyLevel {
        match self {
            Self::Bounded => ConsistencyLevel::Bounded,
            Self::Strong => ConsistencyLevel::Strong,
        }
    }
}

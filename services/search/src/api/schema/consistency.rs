//! How recent the data of a response must be.

use poem_openapi::Enum;

/// How recent the data of a response must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "Consistency", rename_all = "snake_case")]
pub(crate) enum ConsistencyBody {
    /// Fast: may miss the writes of the last few seconds.
    Bounded,
    /// Includes every write that completed before this request; waits up to about 200 ms for it.
    Strong,
}

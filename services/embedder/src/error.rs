//! Errors that end an embedder. Only a user, or a new process, can fix their causes.

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another model, another golden vector, wrong credentials, …
    #[error("this worker cannot write to the index")]
    Index(#[from] lookalike_index::Error),
    /// The network failed repeatedly, even on the trial picture.
    #[error("this worker cannot embed any more")]
    Device(#[source] lookalike_vision::Error),
    /// More decoders hang than `embed.max_leaked_threads`.
    #[error(
        "{count} decoders hang, so this worker must be restarted; their files are listed as failed (too_slow)"
    )]
    LeakedThreads { count: usize },
}

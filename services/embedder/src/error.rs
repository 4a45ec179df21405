//! Why an embedder ends by itself. Each names what only a person, or a new process, can mend.

/// An embedder that can't go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another model, another golden vector, wrong credentials, …
    #[error("this worker can't write to the index")]
    Index(#[from] lookalike_index::Error),
    /// The network failed even on the trial picture, again and again.
    #[error("this worker can't embed any more")]
    Device(#[source] lookalike_vision::Error),
    /// More than `embed.max_leaked_threads`.
    #[error(
        "{count} decoders do not end, so this worker has to be started anew; their files are listed as failed (too_slow)"
    )]
    LeakedThreads {
        /// How many.
        count: usize,
    },
}

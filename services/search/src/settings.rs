//! Where the service listens, and every limit of a request.

use std::time::Duration;

use lookalike_chassis::settings::{duration, size};
use serde::{Deserialize, Serialize};

/// The settings of section `http`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `address:port`; port 0 takes a free one.
    pub listen: String,
    /// Names by which the service may be asked (the header `Host`), beside those of this machine
    /// and `listen`; for a proxy that passes on its own name. None: on an address that only this
    /// machine reaches no others are taken, elsewhere all are. `*` takes all.
    pub allowed_hosts: Vec<String>,
    /// The longest picture that can be searched by.
    #[serde(with = "size")]
    pub max_upload_bytes: u64,
    /// All uploads in memory together; a request that would go beyond is told to come back.
    #[serde(with = "size")]
    pub max_buffered_bytes: u64,
    /// How long the client may take to send a body.
    #[serde(with = "duration")]
    pub upload_timeout: Duration,
    /// How long any request may take, not counting its upload nor a file on its way out.
    #[serde(with = "duration")]
    pub request_timeout: Duration,
    /// How long open requests may go on after the service was told to leave.
    #[serde(with = "duration")]
    pub drain_timeout: Duration,
    /// A connection on which nothing moves for this long is closed.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// Answers of a search or a list when the client does not say how many.
    pub default_limit: u32,
    /// Answers of a search or a list at most; 1,000 is the most that can be set.
    pub max_limit: u32,
    /// Pictures decoded at the same time for searches, and as many again for thumbnails;
    /// 0 takes as many as the machine has cores.
    pub max_concurrent_decodes: usize,
    /// Pictures that may wait to be decoded, for searches and for thumbnails each; a request
    /// above that is told to come back.
    pub max_waiting_decodes: usize,
    /// Thumbnails kept in memory.
    #[serde(with = "size")]
    pub thumbnail_cache_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".into(),
            allowed_hosts: Vec::new(),
            max_upload_bytes: 64 << 20,
            max_buffered_bytes: 512 << 20,
            upload_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(180),
            default_limit: 12,
            max_limit: 1000,
            max_concurrent_decodes: 0,
            max_waiting_decodes: 256,
            thumbnail_cache_bytes: 64 << 20,
        }
    }
}

impl Settings {
    /// [`max_concurrent_decodes`](Self::max_concurrent_decodes) with 0 resolved: at least 1.
    pub(crate) fn concurrent_decodes(&self) -> usize {
        match self.max_concurrent_decodes {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            decodes => decodes,
        }
    }

    /// The most answers of a search or a list: never above what the document promises.
    pub(crate) fn max_results(&self) -> u32 {
        self.max_limit.clamp(1, 1000)
    }
}

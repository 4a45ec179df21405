//! The settings of the section `http`: where the service listens, and every limit of a request.

use std::time::Duration;

use lookalike_chassis::settings::{MinDuration, deserialize_positive, duration, size};
use lookalike_index::SearchQuery;
use serde::{Deserialize, Serialize};

use crate::http::{BasePath, Origin};

/// When a request needs an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyPolicy {
    /// If the service listens on an address other than a loopback address.
    Auto,
    Always,
    Never,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `address:port`; port 0 selects a free one.
    pub listen: String,
    /// Accepted host names (header `Host`) in addition to those of this machine and `listen`, for
    /// example the name of a proxy. If empty, a loopback address accepts no others, and any other
    /// address accepts every name. `*` accepts every name.
    pub allowed_hosts: Vec<String>,
    /// When a request needs an API key (`lookalike keys add`). `auto`: if the service listens on an
    /// address other than a loopback address.
    pub require_keys: KeyPolicy,
    /// The file of the API keys; empty: `keys.json` in the data folder.
    pub keys_file: String,
    /// Requests per second of one client on average: of an API key, or without one, of an address.
    /// 0 sets no limit.
    pub max_requests_per_second: u32,
    /// Requests that a client may send at once beyond that rate; a page of results loads many
    /// thumbnails.
    #[serde(deserialize_with = "deserialize_positive")]
    pub max_request_burst: u32,
    /// Sites whose pages may use the API, as `https://host` with the port if it is not the default.
    pub allowed_origins: Vec<Origin>,
    /// The path under which a proxy serves this service, such as `/pictures`; empty: the root. The
    /// header `X-Forwarded-Prefix` of a proxy takes precedence.
    pub base_path: BasePath,
    /// The largest image file that can be uploaded.
    #[serde(with = "size")]
    pub max_upload_bytes: u64,
    /// The memory for all uploads together; a request beyond it is refused with Retry-After.
    #[serde(with = "size")]
    pub max_buffered_bytes: u64,
    /// How long the client may take to send a body.
    #[serde(with = "MinDuration::<10>")]
    pub upload_timeout: Duration,
    /// How long a request may take, without its upload and without sending a file.
    #[serde(with = "MinDuration::<10>")]
    pub request_timeout: Duration,
    /// How long requests in progress may take after a shutdown began.
    #[serde(with = "duration")]
    pub drain_timeout: Duration,
    /// How long the client may take to send the headers of a request, from their first byte on.
    #[serde(with = "MinDuration::<10>")]
    pub header_timeout: Duration,
    /// A connection without traffic for this long is closed.
    #[serde(with = "MinDuration::<10>")]
    pub idle_timeout: Duration,
    /// Connections at the same time, at most half of the process's file descriptors. When one more
    /// arrives, the connection that has been without a request for the longest time is closed; while
    /// all have requests, the new one waits.
    #[serde(deserialize_with = "deserialize_positive")]
    pub max_connections: usize,
    /// The number of results of a search or a list if the request has no limit.
    #[serde(deserialize_with = "deserialize_positive")]
    pub default_limit: u32,
    /// The maximum number of results of a search or a list; at most 1,000.
    #[serde(deserialize_with = "deserialize_positive")]
    pub max_limit: u32,
    /// Images that all pages of one search together may examine, at least `max_limit` and at most 16,384;
    /// behind them, a search returns no cursor.
    #[serde(deserialize_with = "deserialize_positive")]
    pub max_search_depth: usize,
    /// The same for searches that fold near-duplicates, which compare all these images with each other; at
    /// most `max_search_depth`.
    #[serde(deserialize_with = "deserialize_positive")]
    pub max_near_group_depth: usize,
    /// Searches in progress at once; a request beyond that is refused with Retry-After, so that slow
    /// servers cause no growing queue.
    pub max_concurrent_searches: usize,
    /// Clients that read `/v1/events` at the same time; one more is refused with Retry-After.
    #[serde(deserialize_with = "deserialize_positive")]
    pub max_event_readers: usize,
    /// Counts of values (`/v1/facets`) in progress at once; a request beyond that is refused with
    /// Retry-After.
    pub max_concurrent_facets: usize,
    /// Images whose values one request counts; if more match, it counts a sample of this size.
    #[serde(deserialize_with = "deserialize_positive")]
    pub max_facet_images: usize,
    /// How long one request counts values; then it returns the counts of a sample.
    #[serde(with = "MinDuration::<10>")]
    pub facet_timeout: Duration,
    /// Searches for duplicates (`/v1/duplicates`) in progress at once; a request beyond that is refused
    /// with Retry-After.
    pub max_concurrent_duplicates: usize,
    /// Images that one request for duplicates examines; the next page continues there.
    #[serde(deserialize_with = "deserialize_positive")]
    pub max_duplicate_images: usize,
    /// How long one request searches for duplicates; then it returns what it has found, and the next page
    /// continues there.
    #[serde(with = "MinDuration::<10>")]
    pub duplicates_timeout: Duration,
    /// Images decoded at the same time for searches, and the same number for thumbnails; 0 uses the
    /// number of cores.
    pub max_concurrent_decodes: usize,
    /// Images that may wait to be decoded, for searches and for thumbnails each; a request beyond
    /// that is refused with Retry-After.
    pub max_waiting_decodes: usize,
    /// The memory for cached thumbnails.
    #[serde(with = "size")]
    pub thumbnail_cache_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".into(),
            allowed_hosts: Vec::new(),
            require_keys: KeyPolicy::Auto,
            keys_file: String::new(),
            max_requests_per_second: 0,
            max_request_burst: 500,
            allowed_origins: Vec::new(),
            base_path: BasePath::default(),
            max_upload_bytes: 64 << 20,
            max_buffered_bytes: 512 << 20,
            upload_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(180),
            max_connections: 1024,
            default_limit: 12,
            max_limit: 1000,
            max_search_depth: 10_000,
            max_near_group_depth: 1000,
            max_concurrent_searches: 256,
            max_event_readers: 256,
            max_concurrent_facets: 4,
            max_facet_images: 200_000,
            facet_timeout: Duration::from_secs(5),
            max_concurrent_duplicates: 2,
            max_duplicate_images: 100_000,
            duplicates_timeout: Duration::from_secs(5),
            max_concurrent_decodes: 0,
            max_waiting_decodes: 256,
            thumbnail_cache_bytes: 64 << 20,
        }
    }
}

impl Settings {
    /// Returns [`max_concurrent_decodes`](Self::max_concurrent_decodes) with 0 resolved: at least 1.
    pub(crate) fn concurrent_decodes(&self) -> usize {
        match self.max_concurrent_decodes {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            decodes => decodes,
        }
    }

    /// Returns [`max_search_depth`](Self::max_search_depth) within its limits.
    pub(crate) fn search_depth(&self) -> usize {
        let least = self.max_results() as usize;
        self.max_search_depth.clamp(least, SearchQuery::MAX_DEPTH)
    }

    /// Returns [`max_near_group_depth`](Self::max_near_group_depth) within its limits.
    pub(crate) fn near_group_depth(&self) -> usize {
        self.max_near_group_depth.clamp(1, self.search_depth())
    }

    /// Returns [`max_limit`](Self::max_limit), but never more than the OpenAPI document allows.
    pub(crate) fn max_results(&self) -> u32 {
        self.max_limit.clamp(1, 1000)
    }
}

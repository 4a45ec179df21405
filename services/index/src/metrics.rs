//! Metrics of the index: the duration of calls to Milvus, by kind.

use std::sync::LazyLock;

use lookalike_chassis::metrics::SECONDS_BUCKETS;
use prometheus::{HistogramVec, histogram_opts, register_histogram_vec};

/// Kind of a call: the label `call` of [`MILVUS_SECONDS`], also named in errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MilvusCall {
    Search,
    Upsert,
    Delete,
    Query,
    Count,
    Flush,
    Admin,
}

impl MilvusCall {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::Upsert => "upsert",
            Self::Delete => "delete",
            Self::Query => "query",
            Self::Count => "count",
            Self::Flush => "flush",
            Self::Admin => "admin",
        }
    }
}

/// Seconds of one attempt of one request to Milvus, successful or not.
pub(crate) static MILVUS_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    register_histogram_vec!(
        histogram_opts!(
            "lookalike_milvus_seconds",
            "Seconds of one request to Milvus, by kind of call",
            SECONDS_BUCKETS.to_vec()
        ),
        &["call"]
    )
    .expect("registered once, under a legal name")
});

//! What the service measures. Routes are patterns from a fixed set, never a client's path.

use std::sync::LazyLock;

use lookalike_chassis::metrics::SECONDS_BUCKETS;
use prometheus::{
    Histogram, HistogramVec, IntCounterVec, IntGauge, histogram_opts, opts, register_histogram,
    register_histogram_vec, register_int_counter_vec, register_int_gauge,
};

use crate::http::middleware::errors::ROUTES;

/// The label `kind` of a search: by one picture, by one image of the index, by words, or by several
/// of them.
const QUERY_KINDS: [&str; 4] = ["image", "id", "text", "combined"];

/// Seconds of one search, from the whole request in memory to the hits; label `kind` is one of
/// [`QUERY_KINDS`].
pub(crate) static SEARCH_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    register_histogram_vec!(
        histogram_opts!(
            "lookalike_search_seconds",
            "Seconds of one search that was answered, by kind of query",
            SECONDS_BUCKETS.to_vec()
        ),
        &["kind"]
    )
    .expect("registered once, under a legal name")
});

/// Seconds until an embedder has answered with the vector of a query.
pub(crate) static SEARCH_EMBED_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    register_histogram!(histogram_opts!(
        "lookalike_search_embed_seconds",
        "Seconds until an embedder answered with the vector of a query",
        SECONDS_BUCKETS.to_vec()
    ))
    .expect("registered once, under a legal name")
});

/// Requests by route (a pattern) and status.
pub(crate) static HTTP_REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        opts!(
            "lookalike_http_requests_total",
            "HTTP requests answered, by route and status"
        ),
        &["route", "status"]
    )
    .expect("registered once, under a legal name")
});

/// Bytes that the cache of thumbnails holds.
pub(crate) static THUMBNAIL_CACHE_BYTES: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "lookalike_thumbnail_cache_bytes",
        "Bytes of thumbnails kept in memory"
    )
    .expect("registered once, under a legal name")
});

/// Registers everything, so that `/metrics` shows names before the first request.
pub(crate) fn register_metrics() {
    LazyLock::force(&SEARCH_SECONDS);
    LazyLock::force(&SEARCH_EMBED_SECONDS);
    // A rate is taken from the second value on: the first bug must not be the first value.
    for route in ROUTES {
        HTTP_REQUESTS.with_label_values(&[route, "500"]);
    }
    LazyLock::force(&THUMBNAIL_CACHE_BYTES);
    for kind in QUERY_KINDS {
        SEARCH_SECONDS.with_label_values(&[kind]);
    }
}

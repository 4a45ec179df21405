//! The metrics of the service. Routes are patterns from a fixed set, never the path of a client.

use std::sync::LazyLock;

use lookalike_chassis::metrics::SECONDS_BUCKETS;
use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, histogram_opts, opts,
    register_histogram, register_histogram_vec, register_int_counter, register_int_counter_vec,
    register_int_gauge,
};

use crate::routes::ROUTES;

/// The label `kind` of a search.
const QUERY_KINDS: [&str; 4] = ["image", "id", "text", "combined"];

/// From the complete request to the hits; the label `kind` is one of [`QUERY_KINDS`].
pub(crate) static SEARCH_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    register_histogram_vec!(
        histogram_opts!(
            "lookalike_search_seconds",
            "Seconds of one successful search, by kind of query",
            SECONDS_BUCKETS.to_vec()
        ),
        &["kind"]
    )
    .expect("registered once, under a legal name")
});

pub(crate) static SEARCH_EMBED_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    register_histogram!(histogram_opts!(
        "lookalike_search_embed_seconds",
        "Seconds until an embedder returned the vector of a query",
        SECONDS_BUCKETS.to_vec()
    ))
    .expect("registered once, under a legal name")
});

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

pub(crate) static THUMBNAIL_CACHE_BYTES: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "lookalike_thumbnail_cache_bytes",
        "Bytes of thumbnails cached in memory"
    )
    .expect("registered once, under a legal name")
});

pub(crate) static SAVED_SEARCH_MATCHES: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(opts!(
        "lookalike_saved_search_matches_total",
        "Pictures that saved searches found and this process stored"
    ))
    .expect("registered once, under a legal name")
});

/// The label `result` of [`WEBHOOK_REQUESTS`].
pub(crate) const WEBHOOK_RESULTS: [&str; 3] = ["delivered", "failed", "given_up"];

pub(crate) static WEBHOOK_REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        opts!(
            "lookalike_webhook_requests_total",
            "Requests to webhooks, by result; given_up: failed, and the match is not sent again"
        ),
        &["result"]
    )
    .expect("registered once, under a legal name")
});

/// The label `result` of [`UPLOADS`].
const UPLOAD_RESULTS: [&str; 3] = ["stored", "present", "refused"];

pub(crate) static UPLOADS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        opts!(
            "lookalike_uploads_total",
            "Uploaded pictures, by result; present: the library had the picture before"
        ),
        &["result"]
    )
    .expect("registered once, under a legal name")
});

pub(crate) static TRASHED_FILES: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(opts!(
        "lookalike_trashed_files_total",
        "Files that the API moved to the trash"
    ))
    .expect("registered once, under a legal name")
});

/// Registers all metrics, so `/metrics` contains them before the first request.
pub(crate) fn register_metrics() {
    lookalike_bus::register_metrics();
    LazyLock::force(&SEARCH_SECONDS);
    LazyLock::force(&SEARCH_EMBED_SECONDS);
    // A rate needs two values, so the first error must not create its time series.
    for route in ROUTES {
        HTTP_REQUESTS.with_label_values(&[route, "500"]);
    }
    LazyLock::force(&THUMBNAIL_CACHE_BYTES);
    LazyLock::force(&SAVED_SEARCH_MATCHES);
    for result in WEBHOOK_RESULTS {
        WEBHOOK_REQUESTS.with_label_values(&[result]);
    }
    for result in UPLOAD_RESULTS {
        UPLOADS.with_label_values(&[result]);
    }
    LazyLock::force(&TRASHED_FILES);
    for kind in QUERY_KINDS {
        SEARCH_SECONDS.with_label_values(&[kind]);
    }
}

//! Metrics of this crate. It also observes the stages `decode`, `preprocess` and `network` of the
//! chassis's `lookalike_stage_seconds`.

use std::sync::LazyLock;

use prometheus::{
    Histogram, IntCounterVec, IntGaugeVec, histogram_opts, opts, register_histogram,
    register_int_counter_vec, register_int_gauge_vec,
};

/// Images per run of the network.
pub static BATCH_SIZE: LazyLock<Histogram> = LazyLock::new(|| {
    register_histogram!(histogram_opts!(
        "lookalike_batch_size",
        "Images in one run of the network",
        vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]
    ))
    .expect("registered once, under a legal name")
});

/// 1 for each device in use, 0 for one that failed or is on standby; labels `device` (`cpu`,
/// `vulkan:0`, `cuda:1`) and `model`.
pub static DEVICE_INFO: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        opts!(
            "lookalike_device_info",
            "1 for a device that embeds images with the model, 0 if it failed or is on standby"
        ),
        &["device", "model"]
    )
    .expect("registered once, under a legal name")
});

/// Times that a device left the pool; label `device`.
pub static DEVICE_FAILURES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        opts!(
            "lookalike_device_failures_total",
            "Times that a device failed, hung or computed wrong vectors"
        ),
        &["device"]
    )
    .expect("registered once, under a legal name")
});

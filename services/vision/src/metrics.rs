//! Metrics of this crate. It also observes the stages `decode`, `preprocess` and `network` of the
//! chassis's `lookalike_stage_seconds`.

use std::sync::LazyLock;

use prometheus::{
    Histogram, IntGaugeVec, histogram_opts, opts, register_histogram, register_int_gauge_vec,
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

/// 1 for the device and model in use; labels `device` (`cpu`, `cuda`, `vulkan`) and `model`.
pub static DEVICE_INFO: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        opts!(
            "lookalike_device_info",
            "1 for the device and the model that embed images"
        ),
        &["device", "model"]
    )
    .expect("registered once, under a legal name")
});

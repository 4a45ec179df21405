//! Selects the device of the networks and describes it.
//!
//! This build has only burn's `flex` backend for the CPU. A setting that requires a GPU is an error
//! and never falls back to the CPU silently.

use burn::tensor::Device;

use crate::{
    error::Error,
    network::{Executor, Precision},
};

#[derive(Debug, Clone)]
pub(crate) struct SelectedDevice {
    pub executor: Executor,
    /// The label of metrics: `cpu`, `cuda` or `vulkan`.
    pub label: &'static str,
    /// Backend, threads, and the reason for the selection.
    pub description: String,
}

const DEVICE_HINT: &str = "use \"auto\" or \"cpu\"";

/// Selects the device of the settings.
pub(crate) fn select_device(setting: &str) -> Result<SelectedDevice, Error> {
    let (kind, index) = setting.split_once(':').unwrap_or((setting, "0"));
    let error = |problem: &str| Error::Device {
        device: setting.to_owned(),
        problem: problem.to_owned(),
    };
    if index.parse::<u16>().is_err() || (setting.contains(':') && kind != "cuda") {
        return Err(error(DEVICE_HINT));
    }
    match kind {
        "cpu" | "auto" => Ok(SelectedDevice {
            executor: Executor::Burn {
                device: Device::flex(),
                precision: Precision::F32,
            },
            label: "cpu",
            description: describe_cpu(kind == "auto"),
        }),
        "cuda" | "vulkan" => Err(error(&format!(
            "this build has no {kind} support; {DEVICE_HINT}"
        ))),
        _ => Err(error(DEVICE_HINT)),
    }
}

fn describe_cpu(is_automatic: bool) -> String {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let plural = if threads == 1 { "" } else { "s" };
    let reason = if is_automatic {
        "no GPU support in this build"
    } else {
        "selected by the settings"
    };
    format!(
        "burn flex, {}, {threads} thread{plural}; {reason}",
        simd_name()
    )
}

/// Names the widest vector instructions that both the CPU and the build support.
fn simd_name() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            return "AVX-512";
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            return "AVX2";
        }
        "SSE2"
    }
    #[cfg(target_arch = "aarch64")]
    {
        "NEON"
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        "no known vector instructions"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_available_devices_are_selected() {
        assert_eq!(select_device("auto").unwrap().label, "cpu");
        assert_eq!(select_device("cpu").unwrap().label, "cpu");
        let error = |setting| select_device(setting).unwrap_err().to_string();
        assert!(error("cuda").contains("no cuda support"));
        assert!(error("cuda:1").contains("no cuda support"));
        assert!(error("vulkan").contains("no vulkan support"));
        for setting in ["", "gpu", "cpu:1", "cuda:x", "cuda:"] {
            assert!(error(setting).contains("use \"auto\""), "{setting}");
        }
    }
}

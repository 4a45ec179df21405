//! Which device the networks run on, and what that is in words.
//!
//! This build has burn's `flex` backend for the CPU. GPUs are compiled in by features that this
//! crate does not have yet; asking for one is an error, never a silent fall back.

use burn::tensor::Device;

use crate::error::Error;

/// A device that is there.
#[derive(Debug, Clone)]
pub(crate) struct SelectedDevice {
    pub device: Device,
    /// `cpu`, `cuda` or `vulkan`: the label of metrics.
    pub label: &'static str,
    /// What runs there and why it was chosen.
    pub description: String,
}

/// What this build has.
const USE: &str = "use \"auto\" or \"cpu\"";

/// Finds what the settings ask for.
pub(crate) fn select_device(setting: &str) -> Result<SelectedDevice, Error> {
    let (kind, index) = setting.split_once(':').unwrap_or((setting, "0"));
    let error = |problem: &str| Error::Device {
        device: setting.to_owned(),
        problem: problem.to_owned(),
    };
    if index.parse::<u16>().is_err() || (setting.contains(':') && kind != "cuda") {
        return Err(error(USE));
    }
    match kind {
        "cpu" | "auto" => Ok(SelectedDevice {
            device: Device::flex(),
            label: "cpu",
            description: describe_cpu(kind == "auto"),
        }),
        "cuda" | "vulkan" => Err(error(&format!("this build has no {kind} support; {USE}"))),
        _ => Err(error(USE)),
    }
}

fn describe_cpu(is_automatic: bool) -> String {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let plural = if threads == 1 { "" } else { "s" };
    let why = if is_automatic {
        "no GPU support in this build"
    } else {
        "as the settings say"
    };
    format!(
        "burn flex, {}, {threads} thread{plural}; {why}",
        simd_name()
    )
}

/// The widest vector instructions that the CPU and the build have in common.
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
    fn only_what_is_there_is_chosen() {
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

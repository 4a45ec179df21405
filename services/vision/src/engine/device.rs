//! Selects the device of the networks and describes it.
//!
//! This build supports only the CPU. A setting that requires a GPU is an error
//! and never falls back to the CPU silently.

use crate::{error::Error, network::Executor, settings::CpuKernels};

#[derive(Debug, Clone)]
pub(crate) struct SelectedDevice {
    pub executor: Executor,
    /// The label of metrics: `cpu`, `cuda` or `vulkan`.
    pub label: &'static str,
    /// Executor, threads, and the reason for the selection.
    pub description: String,
}

const DEVICE_HINT: &str = "use \"auto\" or \"cpu\"";

/// Selects the device of the settings.
pub(crate) fn select_device(setting: &str, kernels: CpuKernels) -> Result<SelectedDevice, Error> {
    let (kind, index) = setting.split_once(':').unwrap_or((setting, "0"));
    let error = |problem: &str| Error::Device {
        device: setting.to_owned(),
        problem: problem.to_owned(),
    };
    if index.parse::<u16>().is_err() || (setting.contains(':') && kind != "cuda") {
        return Err(error(DEVICE_HINT));
    }
    match kind {
        "cpu" | "auto" => {
            let executor = Executor::for_cpu(kernels)?;
            let description = describe_cpu(&executor, kind == "auto");
            Ok(SelectedDevice {
                executor,
                label: "cpu",
                description,
            })
        }
        "cuda" | "vulkan" => Err(error(&format!(
            "this build has no {kind} support; {DEVICE_HINT}"
        ))),
        _ => Err(error(DEVICE_HINT)),
    }
}

fn describe_cpu(executor: &Executor, is_automatic: bool) -> String {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let plural = if threads == 1 { "" } else { "s" };
    let reason = if is_automatic {
        "no GPU support in this build"
    } else {
        "selected by the settings"
    };
    format!("{executor}, {threads} thread{plural}; {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_available_devices_are_selected() {
        let select_device = |setting| select_device(setting, CpuKernels::Auto);
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

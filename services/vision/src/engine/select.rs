//! Chooses the devices of the pool.
//!
//! A device that the settings name must be there, or the start fails: nothing falls back to the CPU
//! silently. `auto` takes the best GPU, and never a *software adapter*: a driver that emulates a GPU
//! on the CPU is slower than our own code.

use super::request::{DEVICE_GRAMMAR, DeviceKind, DeviceName, DeviceRequest};
use crate::error::Error;

/// A GPU of this machine, or a driver that emulates one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundGpu {
    pub name: DeviceName,
    /// For people, such as `NVIDIA H200 (discrete)`.
    pub description: String,
    pub class: GpuClass,
}

/// Kinds of GPUs, best first.
#[cfg_attr(
    not(all(feature = "cuda", feature = "vulkan")),
    allow(dead_code, reason = "each build finds only some kinds")
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum GpuClass {
    Cuda,
    Discrete,
    Integrated,
    /// Of a virtual machine, or of unknown kind.
    Virtual,
    Software,
}

/// What [`choose_devices`] chose.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ChosenDevices {
    /// At least one.
    pub members: Vec<DeviceName>,
    /// Whether the CPU takes over when no member works.
    pub has_last_resort: bool,
    /// Whether the start fails if no member works.
    pub needs_member: bool,
    /// Why these, for people.
    pub reason: String,
}

/// The kinds of GPUs that this build supports.
pub(super) const BUILT_KINDS: &[DeviceKind] = &[
    #[cfg(feature = "vulkan")]
    DeviceKind::Vulkan,
    #[cfg(feature = "cuda")]
    DeviceKind::Cuda,
];

/// Chooses the devices of a request among those that were found.
pub(super) fn choose_devices(
    setting: &str,
    found: &[FoundGpu],
    built: &[DeviceKind],
    may_use_cpu: bool,
) -> Result<ChosenDevices, Error> {
    let names = match DeviceRequest::parse(setting)? {
        DeviceRequest::Auto => return Ok(choose_best(found, built, may_use_cpu)),
        DeviceRequest::Named(names) => names,
    };
    for name in &names {
        check_is_found(*name, found, built).map_err(|problem| Error::Device {
            device: setting.to_owned(),
            problem,
        })?;
    }
    let has_cpu = names.contains(&DeviceName::CPU);
    Ok(ChosenDevices {
        members: names,
        has_last_resort: may_use_cpu && !has_cpu,
        needs_member: true,
        reason: "selected by the settings".to_owned(),
    })
}

fn choose_best(found: &[FoundGpu], built: &[DeviceKind], may_use_cpu: bool) -> ChosenDevices {
    let is_real = |gpu: &&FoundGpu| gpu.class != GpuClass::Software;
    let best = found.iter().filter(is_real).min_by_key(|gpu| gpu.class);
    let Some(best) = best else {
        return ChosenDevices {
            members: vec![DeviceName::CPU],
            has_last_resort: false,
            needs_member: true,
            reason: describe_missing_gpu(found, built),
        };
    };
    let others: Vec<String> = found
        .iter()
        .filter(|gpu| is_real(gpu) && gpu.name != best.name)
        .map(|gpu| gpu.name.to_string())
        .collect();
    let reason = match others.as_slice() {
        [] => "the only GPU".to_owned(),
        others => format!("the best GPU; also found: {}", others.join(", ")),
    };
    ChosenDevices {
        members: vec![best.name],
        has_last_resort: may_use_cpu,
        needs_member: !may_use_cpu,
        reason,
    }
}

fn describe_missing_gpu(found: &[FoundGpu], built: &[DeviceKind]) -> String {
    if built.is_empty() {
        return "no GPU support in this build".to_owned();
    }
    match found.first() {
        None => "no GPU found".to_owned(),
        Some(gpu) => format!(
            "no GPU found; {} ({}) only emulates one",
            gpu.name, gpu.description
        ),
    }
}

/// Returns the problem of a device that is not there, with the valid devices.
fn check_is_found(
    name: DeviceName,
    found: &[FoundGpu],
    built: &[DeviceKind],
) -> Result<(), String> {
    if name.kind == DeviceKind::Cpu || found.iter().any(|gpu| gpu.name == name) {
        return Ok(());
    }
    let kind = name.kind.name();
    if !built.contains(&name.kind) {
        let hint = match built {
            [] => "use \"auto\" or \"cpu\"".to_owned(),
            _ => DEVICE_GRAMMAR.to_owned(),
        };
        return Err(format!(
            "this build has no {kind} support; build with `--features {kind}`, or {hint}"
        ));
    }
    let mut valid = vec!["auto".to_owned(), "cpu".to_owned()];
    valid.extend(
        found
            .iter()
            .map(|gpu| format!("{} ({})", gpu.name, gpu.description)),
    );
    Err(format!(
        "there is no {name} on this machine; use one of: {}",
        valid.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &[DeviceKind] = &[DeviceKind::Vulkan, DeviceKind::Cuda];

    fn gpu(kind: DeviceKind, index: usize, class: GpuClass) -> FoundGpu {
        FoundGpu {
            name: DeviceName { kind, index },
            description: format!("{class:?}"),
            class,
        }
    }

    fn names(chosen: &ChosenDevices) -> Vec<String> {
        chosen.members.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn auto_takes_the_best_real_gpu_and_says_why() {
        let found = [
            gpu(DeviceKind::Vulkan, 0, GpuClass::Software),
            gpu(DeviceKind::Vulkan, 1, GpuClass::Integrated),
            gpu(DeviceKind::Vulkan, 2, GpuClass::Discrete),
            gpu(DeviceKind::Vulkan, 3, GpuClass::Discrete),
        ];
        let chosen = choose_devices("auto", &found, BOTH, true).unwrap();
        assert_eq!(names(&chosen), ["vulkan:2"]);
        assert!(chosen.has_last_resort && !chosen.needs_member);
        assert!(
            chosen.reason.contains("also found: vulkan:1, vulkan:3"),
            "{}",
            chosen.reason
        );
        let chosen = choose_devices("auto", &found[..2], BOTH, false).unwrap();
        assert_eq!(names(&chosen), ["vulkan:1"]);
        assert!(!chosen.has_last_resort && chosen.needs_member);
        assert_eq!(chosen.reason, "the only GPU");
    }

    #[test]
    fn auto_never_takes_a_software_adapter() {
        let found = [gpu(DeviceKind::Vulkan, 0, GpuClass::Software)];
        for (found, built, reason) in [
            (&found[..], BOTH, "vulkan:0 (Software) only emulates one"),
            (&[], BOTH, "no GPU found"),
            (&[], &[], "no GPU support in this build"),
        ] {
            let chosen = choose_devices("auto", found, built, true).unwrap();
            assert_eq!(names(&chosen), ["cpu"]);
            assert!(chosen.reason.contains(reason), "{}", chosen.reason);
        }
        let chosen = choose_devices("vulkan:0", &found, BOTH, true).unwrap();
        assert_eq!(names(&chosen), ["vulkan:0"], "but the user may name it");
        assert!(chosen.has_last_resort && chosen.needs_member);
    }

    #[test]
    fn named_devices_must_be_there() {
        let found = [gpu(DeviceKind::Vulkan, 0, GpuClass::Discrete)];
        let chosen = choose_devices("vulkan:0,cpu", &found, BOTH, true).unwrap();
        assert_eq!(names(&chosen), ["vulkan:0", "cpu"]);
        assert!(!chosen.has_last_resort, "the CPU works all the time");
        let error = |setting, built| {
            choose_devices(setting, &found, built, true)
                .unwrap_err()
                .to_string()
        };
        let missing = error("vulkan:0,vulkan:1", BOTH);
        assert!(missing.contains("there is no vulkan:1"), "{missing}");
        assert!(
            missing.contains("auto, cpu, vulkan:0 (Discrete)"),
            "{missing}"
        );
        assert!(error("cuda", &[DeviceKind::Vulkan]).contains("this build has no cuda support"));
        let no_gpu = error("cuda:1", &[]);
        assert!(no_gpu.contains("--features cuda") && no_gpu.contains("\"auto\" or \"cpu\""));
    }
}

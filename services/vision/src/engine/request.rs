//! The setting `device`: which devices the user asked for.

use std::fmt;

use crate::error::Error;

/// What [`DeviceRequest::parse`] accepts, for errors and help.
pub(super) const DEVICE_GRAMMAR: &str = "use \"auto\", \"cpu\", \"vulkan:N\" or \"cuda:N\", or a list such as \"vulkan:0,vulkan:1,cpu\"";

/// The kind of a device, which is also its label in metrics and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum DeviceKind {
    Cpu,
    Vulkan,
    Cuda,
}

impl DeviceKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Vulkan => "vulkan",
            Self::Cuda => "cuda",
        }
    }
}

/// One device, displayed as the settings name it: `cpu`, `vulkan:0`, `cuda:1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct DeviceName {
    pub kind: DeviceKind,
    /// Position among the devices of this kind; 0 for the CPU.
    pub index: usize,
}

impl DeviceName {
    pub(super) const CPU: Self = Self {
        kind: DeviceKind::Cpu,
        index: 0,
    };
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            DeviceKind::Cpu => f.write_str("cpu"),
            kind => write!(f, "{}:{}", kind.name(), self.index),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DeviceRequest {
    /// The best GPU, or else the CPU.
    Auto,
    /// Exactly these; at least one, and no two equal ones.
    Named(Vec<DeviceName>),
}

impl DeviceRequest {
    /// Parses `auto`, or a comma-separated list of `cpu`, `vulkan`, `vulkan:N`, `cuda` and `cuda:N`.
    /// Without a number, a kind of GPU stands for its first device.
    pub(super) fn parse(setting: &str) -> Result<Self, Error> {
        let error = |problem: String| Error::Device {
            device: setting.to_owned(),
            problem,
        };
        if setting.trim() == "auto" {
            return Ok(Self::Auto);
        }
        let mut names = Vec::new();
        for word in setting.split(',').map(str::trim) {
            if word == "auto" {
                let problem = "\"auto\" cannot be part of a list; name every device";
                return Err(error(problem.to_owned()));
            }
            let name = parse_name(word).ok_or_else(|| error(DEVICE_GRAMMAR.to_owned()))?;
            if names.contains(&name) {
                return Err(error(format!(
                    "{name} is listed twice; name each device once"
                )));
            }
            names.push(name);
        }
        Ok(Self::Named(names))
    }
}

fn parse_name(word: &str) -> Option<DeviceName> {
    let (kind, index) = match word.split_once(':') {
        None => (word, 0),
        Some((kind, index)) => (kind, usize::from(index.parse::<u16>().ok()?)),
    };
    let kind = match kind {
        "cpu" if !word.contains(':') => DeviceKind::Cpu,
        "vulkan" => DeviceKind::Vulkan,
        "cuda" => DeviceKind::Cuda,
        _ => return None,
    };
    Some(DeviceName { kind, index })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_parsed_in_order() {
        let names = |setting: &str| match DeviceRequest::parse(setting).unwrap() {
            DeviceRequest::Auto => vec!["auto".to_owned()],
            DeviceRequest::Named(names) => names.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(names("auto"), ["auto"]);
        assert_eq!(names("cpu"), ["cpu"]);
        assert_eq!(names("cuda"), ["cuda:0"]);
        assert_eq!(
            names("vulkan:0, vulkan:1,cpu,cuda:7"),
            ["vulkan:0", "vulkan:1", "cpu", "cuda:7"]
        );
    }

    #[test]
    fn errors_say_what_is_valid() {
        let error = |setting| DeviceRequest::parse(setting).unwrap_err().to_string();
        for setting in [
            "",
            "gpu",
            "cpu:1",
            "cpu:0",
            "cuda:x",
            "cuda:",
            "vulkan:0,",
            "CPU",
            "cuda:-1",
        ] {
            let error = error(setting);
            assert!(
                error.contains("use \"auto\"") && error.contains("vulkan:N"),
                "{error}"
            );
        }
        assert!(error("vulkan,vulkan:0").contains("vulkan:0 is listed twice"));
        assert!(error("cpu,auto").contains("cannot be part of a list"));
    }
}

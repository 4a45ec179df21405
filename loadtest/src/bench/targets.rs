//! The performance targets: what each row of the report compares, its bar and its aim.
//!
//! The *bar* is the value that a release must reach, the *aim* the value that we want. Ratios compare
//! lookalike with another program on the same machine, files, weights and threads, in one run. Other
//! targets are values of lookalike alone; they were chosen for two threads of a server CPU of 2024.

/// One line of the table of targets.
#[derive(Debug, PartialEq)]
pub struct BenchTarget {
    /// Unique; as in `network.resnet34.batch8`.
    pub key: &'static str,
    /// The subcommand of `bench` that measures it.
    pub command: &'static str,
    pub name: &'static str,
    /// The program or state that lookalike is compared with; empty for a value of lookalike alone.
    pub against: &'static str,
    /// Unit of both compared values.
    pub unit: &'static str,
    pub better: BetterDirection,
    pub bar: f64,
    pub aim: f64,
}

/// Which values are good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BetterDirection {
    Higher,
    Lower,
}

/// How a measured value compares with its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetVerdict {
    AimReached,
    BarReached,
    BarMissed,
}

impl TargetVerdict {
    pub fn label(self) -> &'static str {
        match self {
            Self::AimReached => "aim reached",
            Self::BarReached => "bar reached",
            Self::BarMissed => "bar missed",
        }
    }
}

impl BenchTarget {
    /// Returns whether the target is a ratio to something else.
    pub fn is_ratio(&self) -> bool {
        !self.against.is_empty()
    }

    /// Judges a ratio, or the value itself if the target is not a ratio.
    pub fn judge(&self, value: f64) -> TargetVerdict {
        let reaches = |limit: f64| match self.better {
            BetterDirection::Higher => value >= limit,
            BetterDirection::Lower => value <= limit,
        };
        if reaches(self.aim) {
            TargetVerdict::AimReached
        } else if reaches(self.bar) {
            TargetVerdict::BarReached
        } else {
            TargetVerdict::BarMissed
        }
    }

    /// Returns how many times better a value is than the bar; 1 is the bar itself.
    pub fn relative_to_bar(&self, value: f64) -> f64 {
        match self.better {
            BetterDirection::Higher => value / self.bar,
            BetterDirection::Lower => self.bar / value,
        }
    }
}

const IMAGES: &str = "images/s";
const ORT: &str = "ONNX Runtime, f32";
const TORCH_GPU: &str = "PyTorch, bf16, same card";

const fn higher(
    key: &'static str,
    command: &'static str,
    name: &'static str,
    against: &'static str,
    unit: &'static str,
    [bar, aim]: [f64; 2],
) -> BenchTarget {
    BenchTarget {
        key,
        command,
        name,
        against,
        unit,
        better: BetterDirection::Higher,
        bar,
        aim,
    }
}

const fn lower(
    key: &'static str,
    command: &'static str,
    name: &'static str,
    against: &'static str,
    unit: &'static str,
    [bar, aim]: [f64; 2],
) -> BenchTarget {
    BenchTarget {
        better: BetterDirection::Lower,
        ..higher(key, command, name, against, unit, [bar, aim])
    }
}

const fn network(
    key: &'static str,
    name: &'static str,
    against: &'static str,
    limits: [f64; 2],
) -> BenchTarget {
    higher(key, "network", name, against, IMAGES, limits)
}

/// All targets, in the order of the report.
pub static TARGETS: &[BenchTarget] = &[
    network(
        "network.resnet34.batch8",
        "ResNet-34, batch 8",
        ORT,
        [1.6, 2.0],
    ),
    network(
        "network.mobilenetv2.batch8",
        "MobileNetV2, batch 8",
        ORT,
        [1.4, 2.0],
    ),
    network(
        "network.efficientnet-lite0.batch8",
        "EfficientNet-Lite0, batch 8",
        ORT,
        [1.7, 2.3],
    ),
    network(
        "network.vit-s16.batch8",
        "ViT-S/16, batch 8",
        ORT,
        [1.2, 1.6],
    ),
    network(
        "network.resnet34.batch1",
        "ResNet-34, one query",
        ORT,
        [1.0, 1.4],
    ),
    network(
        "network.mobilenetv2.batch1",
        "MobileNetV2, one query",
        ORT,
        [1.0, 1.4],
    ),
    network(
        "network.efficientnet-lite0.batch1",
        "EfficientNet-Lite0, one query",
        ORT,
        [1.0, 1.4],
    ),
    network(
        "network.vit-s16.batch1",
        "ViT-S/16, one query",
        ORT,
        [1.0, 1.4],
    ),
    network(
        "network.resnet34.torch-f32",
        "ResNet-34, batch 8",
        "PyTorch, f32",
        [2.0, 2.5],
    ),
    network(
        "network.resnet34.torch-bf16",
        "ResNet-34, batch 8",
        "PyTorch, bf16 autocast",
        [1.0, 1.3],
    ),
    network(
        "network.gpu.resnet50",
        "ResNet-50 on a GPU, batch 64",
        TORCH_GPU,
        [0.7, 1.0],
    ),
    network(
        "network.gpu.vit-s16",
        "ViT-S/16 on a GPU, batch 64",
        TORCH_GPU,
        [0.7, 1.0],
    ),
    network(
        "network.gpu.clip-b32",
        "CLIP B/32 on a GPU, batch 64",
        TORCH_GPU,
        [0.7, 1.0],
    ),
    higher(
        "ingest.older",
        "ingest",
        "folder → searchable, default model",
        "an older build with its default model",
        IMAGES,
        [4.0, 6.0],
    ),
    higher(
        "ingest.bottleneck",
        "ingest",
        "folder → searchable, default model",
        "the slower of network and decoder alone",
        IMAGES,
        [0.9, 0.95],
    ),
    higher(
        "ingest.usual",
        "ingest",
        "folder → searchable, ResNet-34",
        "the usual system's batch script",
        IMAGES,
        [2.0, 3.0],
    ),
    lower(
        "search.usual",
        "search",
        "search by upload, ResNet-34, p50",
        "the usual system",
        "ms",
        [0.6, 0.3],
    ),
    higher(
        "search.clients16",
        "search",
        "searches by upload, 16 clients",
        "",
        "searches/s",
        [250.0, 400.0],
    ),
    lower(
        "search.ingesting",
        "search",
        "search by upload while ingesting, p99",
        "the same at rest",
        "ms",
        [3.0, 1.5],
    ),
    lower(
        "changes.searchable-p50",
        "changes",
        "file → searchable at rest, p50",
        "",
        "ms",
        [120.0, 80.0],
    ),
    lower(
        "changes.searchable-p99",
        "changes",
        "file → searchable at rest, p99",
        "",
        "ms",
        [400.0, 150.0],
    ),
    higher(
        "changes.copies",
        "changes",
        "known content (copies)",
        "",
        "files/s",
        [1_800.0, 4_000.0],
    ),
    lower(
        "changes.moves",
        "changes",
        "27,000 files moved → equal again",
        "",
        "s",
        [15.0, 8.0],
    ),
    lower(
        "changes.deletes",
        "changes",
        "10,800 files deleted → equal again",
        "",
        "s",
        [15.0, 8.0],
    ),
    lower(
        "changes.restart",
        "changes",
        "restart → ready at 43,000 rows",
        "",
        "s",
        [8.0, 4.0],
    ),
    lower(
        "changes.rescan",
        "changes",
        "rescan of 1 M catalogued files",
        "",
        "s",
        [10.0, 5.0],
    ),
    higher(
        "index.recall",
        "index",
        "recall@10 with the default parameters",
        "",
        "share",
        [0.98, 0.99],
    ),
];

/// Returns a target.
///
/// # Panics
/// Panics if no target has this key.
pub fn find_target(key: &str) -> &'static BenchTarget {
    TARGETS
        .iter()
        .find(|target| target.key == key)
        .unwrap_or_else(|| panic!("no target has the key {key:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn values_are_judged_in_their_direction() {
        let faster = find_target("network.resnet34.batch8");
        assert_eq!(faster.judge(1.59), TargetVerdict::BarMissed);
        assert_eq!(faster.judge(1.6), TargetVerdict::BarReached);
        assert_eq!(faster.judge(2.0), TargetVerdict::AimReached);
        assert_eq!(faster.relative_to_bar(3.2), 2.0);
        let shorter = find_target("changes.restart");
        assert_eq!(shorter.judge(8.1), TargetVerdict::BarMissed);
        assert_eq!(shorter.judge(8.0), TargetVerdict::BarReached);
        assert_eq!(shorter.judge(3.0), TargetVerdict::AimReached);
        assert_eq!(shorter.relative_to_bar(16.0), 0.5);
        assert_eq!(shorter.judge(f64::NAN), TargetVerdict::BarMissed);
    }

    #[test]
    fn targets_are_consistent() {
        let keys: HashSet<_> = TARGETS.iter().map(|target| target.key).collect();
        assert_eq!(keys.len(), TARGETS.len(), "a key is used twice");
        for target in TARGETS {
            assert!(target.key.starts_with(target.command), "{target:?}");
            assert_eq!(target.judge(target.aim), TargetVerdict::AimReached);
            assert_eq!(
                target.judge(target.bar),
                TargetVerdict::BarReached,
                "{target:?}"
            );
        }
    }
}

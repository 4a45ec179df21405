//! One row of the report.

use serde_json::{Value, json};

use crate::bench::samples::{PairedSamples, largest_of, median_of, smallest_of};
use crate::bench::targets::{BenchTarget, BetterDirection, TargetVerdict};

/// A measured value next to its bar, or the reason why it was not measured.
#[derive(Debug, Clone, Default)]
pub struct BenchRow {
    pub name: String,
    /// What lookalike is compared with; empty for a value of lookalike alone.
    pub against: String,
    pub unit: String,
    /// Median of lookalike.
    pub ours: Option<f64>,
    /// Median of the other program.
    pub peer: Option<f64>,
    /// Median over the rounds of ours ÷ peer.
    pub ratio: Option<f64>,
    /// Ratio of the best values of both.
    pub best_ratio: Option<f64>,
    /// Bar and aim; `None` for a row that only informs.
    pub target: Option<&'static BenchTarget>,
    /// Number of rounds or requests behind the values.
    pub samples: u64,
    /// Why there is no value.
    pub missing: Option<String>,
    /// A deviation from the target's conditions, or a detail.
    pub note: Option<String>,
    /// Whether the value was measured with so few files that the bar does not apply.
    pub is_smaller: bool,
}

impl BenchRow {
    fn for_target(target: &'static BenchTarget) -> Self {
        Self {
            name: target.name.to_owned(),
            against: target.against.to_owned(),
            unit: target.unit.to_owned(),
            target: Some(target),
            ..Self::default()
        }
    }

    /// A row that could not be measured.
    pub fn not_measured(target: &'static BenchTarget, reason: impl Into<String>) -> Self {
        Self {
            missing: Some(reason.into()),
            ..Self::for_target(target)
        }
    }

    /// A ratio from alternating measurements.
    pub fn from_pairs(target: &'static BenchTarget, samples: &PairedSamples) -> Self {
        let row = Self::compare(
            target.name,
            target.against,
            target.unit,
            target.better,
            samples,
        );
        Self {
            target: Some(target),
            ..row
        }
    }

    /// A ratio without a bar.
    pub fn compare(
        name: &str,
        against: &str,
        unit: &str,
        better: BetterDirection,
        samples: &PairedSamples,
    ) -> Self {
        if samples.is_empty() {
            return Self {
                name: name.to_owned(),
                against: against.to_owned(),
                unit: unit.to_owned(),
                missing: Some("no round was completed".to_owned()),
                ..Self::default()
            };
        }
        let best = match better {
            BetterDirection::Higher => largest_of,
            BetterDirection::Lower => smallest_of,
        };
        let best_ours = best(&samples.ours());
        Self {
            name: name.to_owned(),
            against: against.to_owned(),
            unit: unit.to_owned(),
            ours: median_of(samples.ours()),
            peer: median_of(samples.peer()),
            ratio: median_of(samples.ratios()),
            best_ratio: best_ours
                .zip(best(&samples.peer()))
                .map(|(ours, peer)| ours / peer),
            samples: samples.len() as u64,
            ..Self::default()
        }
    }

    /// A value of lookalike alone that has a bar.
    pub fn from_value(target: &'static BenchTarget, value: f64, samples: u64) -> Self {
        Self {
            ours: Some(value),
            samples,
            ..Self::for_target(target)
        }
    }

    /// A value without a bar.
    pub fn info(name: impl Into<String>, unit: &str, value: f64, samples: u64) -> Self {
        Self {
            name: name.into(),
            unit: unit.to_owned(),
            ours: Some(value),
            samples,
            ..Self::default()
        }
    }

    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// A value of a smaller measurement than the target is about: it is not judged.
    #[must_use]
    pub fn as_smaller(self, note: impl Into<String>) -> Self {
        Self {
            is_smaller: true,
            ..self.with_note(note)
        }
    }

    /// Returns the value that is judged: the ratio, or the value of lookalike alone.
    pub fn judged_value(&self) -> Option<f64> {
        match self.target {
            _ if self.is_smaller => None,
            Some(target) if target.is_ratio() => self.ratio,
            _ => self.ours,
        }
    }

    pub fn verdict(&self) -> Option<TargetVerdict> {
        Some(self.target?.judge(self.judged_value()?))
    }

    /// Returns the verdict in words.
    pub fn verdict_label(&self) -> &'static str {
        match (self.verdict(), &self.missing) {
            (Some(verdict), _) => verdict.label(),
            (None, Some(_)) => "not measured",
            (None, None) if self.is_smaller => "fewer files",
            (None, None) => "no bar",
        }
    }

    /// Returns the command that measures this row.
    pub fn command(&self) -> String {
        self.target.map_or_else(String::new, |target| {
            format!("lookalike-loadtest bench {}", target.command)
        })
    }

    pub fn to_json(&self) -> Value {
        json!({
            "key": self.target.map(|target| target.key),
            "name": self.name,
            "against": self.against,
            "unit": self.unit,
            "ours": self.ours,
            "peer": self.peer,
            "ratio": self.ratio,
            "best_ratio": self.best_ratio,
            "bar": self.target.map(|target| target.bar),
            "aim": self.target.map(|target| target.aim),
            "lower_is_better": self.target.map(|target| target.better == BetterDirection::Lower),
            "verdict": self.verdict_label(),
            "samples": self.samples,
            "reason": self.missing,
            "note": self.note,
            "command": self.command(),
        })
    }
}

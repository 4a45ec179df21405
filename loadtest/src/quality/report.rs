//! The result of a measurement, as text and as JSON.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::altered::Alteration;
use super::calibration::Calibration;

#[derive(Debug, Clone, Default)]
pub struct QualityReport {
    /// Name of the model.
    pub model: String,
    pub dimension: u64,
    /// Description of the device that embedded the pictures.
    pub device: String,
    pub folder: PathBuf,
    /// Number of pictures in the index.
    pub photos: usize,
    /// Number of files that could not be read as pictures.
    pub unreadable: u64,
    /// Number of files that are ignored.
    pub ignored: u64,
    /// Number of pictures outside class folders: neighbours that are never right.
    pub unclassed: usize,
    /// Number of pictures that are alone in their class, so no neighbour can be right.
    pub alone_in_class: usize,
    /// Number of neighbours for the precision.
    pub k: usize,
    /// Number of neighbours for the average precision.
    pub depth: usize,
    /// Mean precision at k.
    pub precision: f64,
    /// Mean average precision.
    pub average_precision: f64,
    /// Every class, best precision first.
    pub classes: Vec<ClassScore>,
    /// Every kind of alteration; empty if not requested.
    pub robustness: Vec<Robustness>,
    pub calibration: Calibration,
    /// Seconds until all pictures were in the index, including the start of the servers.
    pub indexing_seconds: f64,
    /// The folder with index and logs, if it was kept.
    pub kept: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ClassScore {
    pub name: String,
    /// Number of pictures in the class.
    pub photos: usize,
    /// Mean precision at k; `None` if the class has a single picture.
    pub precision: Option<f64>,
    pub average_precision: Option<f64>,
}

/// How many copies with one alteration found their photo.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Robustness {
    pub change: Alteration,
    /// Number of altered photos.
    pub photos: usize,
    /// Share of photos that were the first hit.
    pub first: f64,
    /// Share of photos that were among the first k hits.
    pub near: f64,
}

impl QualityReport {
    /// Describes the files that have no score.
    pub fn skipped_notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let mut note = |count: u64, what: &str| {
            if count > 0 {
                notes.push(format!("{count} {what}"));
            }
        };
        note(self.unreadable, "files could not be read as pictures");
        note(
            self.ignored,
            "files are ignored because they are not pictures",
        );
        note(
            self.unclassed as u64,
            "pictures are outside class folders: they are not searched for and count as wrong neighbours",
        );
        note(
            self.alone_in_class as u64,
            "pictures are alone in their class: they are not searched for",
        );
        notes
    }

    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<12} {value}");
        };
        line(
            "model",
            format!("{} ({} numbers)", self.model, self.dimension),
        );
        line("device", self.device.clone());
        line(
            "photos",
            format!(
                "{} in {} classes, in {}",
                self.photos,
                self.classes.len(),
                self.folder.display()
            ),
        );
        for note in self.skipped_notes() {
            line("", note);
        }
        line(&format!("P@{}", self.k), format!("{:.3}", self.precision));
        line(
            "mAP",
            format!(
                "{:.3} (over the first {} neighbours)",
                self.average_precision, self.depth
            ),
        );
        if let Some(robustness) = self.robustness.first() {
            let (first, near) = ("first", format!("first {}", self.k));
            let head = format!(
                "copies of {} photos that found their photo",
                robustness.photos
            );
            let _ = writeln!(text, "\n{head:<46} {first:>8} {near:>10}");
            for row in &self.robustness {
                let _ = writeln!(
                    text,
                    "{:<46} {:>8.3} {:>10.3}",
                    row.change.display_label(),
                    row.first,
                    row.near
                );
            }
        }
        let scores = self.calibration.to_text(self.k);
        if !scores.is_empty() {
            let _ = write!(text, "\n{scores}");
        }
        let precision = format!("P@{}", self.k);
        let _ = writeln!(
            text,
            "\n{:<38} {:>7} {precision:>8} {:>10}",
            "class", "photos", "mAP"
        );
        let number = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.3}"));
        for class in &self.classes {
            let _ = writeln!(
                text,
                "{:<38} {:>7} {:>8} {:>10}",
                class.name,
                class.photos,
                number(class.precision),
                number(class.average_precision)
            );
        }
        if let Some(kept) = &self.kept {
            let _ = writeln!(text, "\nkept         {}", kept.display());
        }
        text
    }

    pub fn to_json(&self) -> Value {
        let classes: Vec<Value> = self
            .classes
            .iter()
            .map(|class| {
                json!({
                    "name": class.name,
                    "photos": class.photos,
                    "precision": class.precision,
                    "average_precision": class.average_precision,
                })
            })
            .collect();
        let robustness: Vec<Value> = self
            .robustness
            .iter()
            .map(|row| {
                json!({
                    "change": row.change.json_key(),
                    "photos": row.photos,
                    "first": row.first,
                    "first_k": row.near,
                })
            })
            .collect();
        json!({
            "model": {"name": self.model, "dimension": self.dimension},
            "device": self.device,
            "folder": self.folder,
            "photos": self.photos,
            "unreadable": self.unreadable,
            "ignored": self.ignored,
            "without_class": self.unclassed,
            "alone_in_class": self.alone_in_class,
            "k": self.k,
            "precision_at_k": self.precision,
            "mean_average_precision": self.average_precision,
            "average_precision_depth": self.depth,
            "classes": classes,
            "robustness": robustness,
            "calibration": self.calibration.to_json(),
            "seconds_until_indexed": self.indexing_seconds,
            "kept": self.kept,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_score_is_told() {
        let report = QualityReport {
            k: 10,
            precision: 0.343,
            unreadable: 3,
            classes: vec![ClassScore {
                name: "crab".into(),
                photos: 1,
                precision: None,
                average_precision: None,
            }],
            ..QualityReport::default()
        };
        let text = report.to_text();
        assert!(text.contains("3 files could not be read"), "{text}");
        assert!(!text.contains("alone in their class"), "{text}");
        assert!(text.contains("P@10         0.343"), "{text}");
        assert_eq!(report.to_json()["unreadable"], 3);
        assert_eq!(report.to_json()["classes"][0]["precision"], Value::Null);
    }
}

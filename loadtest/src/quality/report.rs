//! What was measured, for people and for programs.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::altered::Alteration;
use super::calibration::Calibration;

/// One measurement.
#[derive(Debug, Clone, Default)]
pub struct QualityReport {
    /// The model's name.
    pub model: String,
    /// Numbers in its vectors.
    pub dimension: u64,
    /// What embedded the pictures, in words.
    pub device: String,
    /// The folder of class folders.
    pub folder: PathBuf,
    /// Pictures in the index.
    pub photos: usize,
    /// Files that could not be read as pictures.
    pub unreadable: u64,
    /// Files that are not meant to be pictures.
    pub ignored: u64,
    /// Pictures in no class folder: neighbours that are never right.
    pub unclassed: usize,
    /// Pictures alone in their class, which can have no right neighbour.
    pub alone_in_class: usize,
    /// How many neighbours precision is counted in.
    pub k: usize,
    /// How many neighbours average precision looks at.
    pub depth: usize,
    /// Mean precision.
    pub precision: f64,
    /// Mean average precision.
    pub average_precision: f64,
    /// Every class, best first.
    pub classes: Vec<ClassScore>,
    /// Every kind of altered copy; none when it was not asked for.
    pub robustness: Vec<Robustness>,
    /// What a score is worth.
    pub calibration: Calibration,
    /// Seconds until everything was in the index, servers and all.
    pub indexing_seconds: f64,
    /// The folder with everything, where it was kept.
    pub kept: Option<PathBuf>,
}

/// One class.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassScore {
    /// The folder's name.
    pub name: String,
    /// Pictures in it.
    pub photos: usize,
    /// Mean precision of those; none for a picture alone.
    pub precision: Option<f64>,
    /// Mean average precision of those.
    pub average_precision: Option<f64>,
}

/// How many altered copies led to their photo.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Robustness {
    /// What was done.
    pub change: Alteration,
    /// To how many photos.
    pub photos: usize,
    /// Share of those that came first.
    pub first: f64,
    /// Share of those that came among the first k.
    pub near: f64,
}

impl QualityReport {
    /// What can't be told from the numbers: files without a score.
    pub fn skipped_notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let mut note = |count: u64, what: &str| {
            if count > 0 {
                notes.push(format!("{count} {what}"));
            }
        };
        note(self.unreadable, "files could not be read as pictures");
        note(self.ignored, "files are not meant to be pictures");
        note(
            self.unclassed as u64,
            "pictures lie in no class folder: they are asked nothing, and are wrong neighbours",
        );
        note(
            self.alone_in_class as u64,
            "pictures are alone in their class: they are asked nothing",
        );
        notes
    }

    /// For people.
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
                "copies of {} photos that find their photo",
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

    /// For programs.
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

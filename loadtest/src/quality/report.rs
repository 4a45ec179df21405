//! The result of a measurement, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::altered::Alteration;
use super::calibration::{Calibration, label_band};
use super::sparse::{self, SparseScore};

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
    /// Every kind of picture with little in it; empty if not requested.
    pub sparse: Vec<SparseScore>,
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
#[derive(Debug, Clone, PartialEq)]
pub struct Robustness {
    pub change: Alteration,
    /// Number of altered photos.
    pub photos: usize,
    /// Share of photos that were the first hit.
    pub first: f64,
    /// Share of photos that were among the first k hits.
    pub near: f64,
    /// Bands of the photos among the first k hits, most frequent first; empty if the model has no bands.
    pub bands: Vec<(String, usize)>,
}

impl Robustness {
    /// Describes the bands with their shares of all photos.
    pub fn describe_bands(&self) -> String {
        let share = |(band, count): &(String, usize)| {
            let percent = 100.0 * *count as f64 / self.photos.max(1) as f64;
            format!("{} {percent:.0} %", label_band(band))
        };
        self.bands.iter().map(share).collect::<Vec<_>>().join(", ")
    }
}

/// Counts each band, most frequent first.
pub fn count_bands(bands: impl Iterator<Item = String>) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for band in bands {
        *counts.entry(band).or_default() += 1;
    }
    let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
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
                    "{:<46} {:>8.3} {:>10.3}  {}",
                    row.change.display_label(),
                    row.first,
                    row.near,
                    row.describe_bands()
                );
            }
        }
        text.push_str(&sparse::format_scores(&self.sparse));
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
                    "bands": to_object(&row.bands),
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
            "sparse": self.sparse.iter().map(SparseScore::to_json).collect::<Vec<_>>(),
            "calibration": self.calibration.to_json(),
            "seconds_until_indexed": self.indexing_seconds,
            "kept": self.kept,
        })
    }
}

fn to_object(bands: &[(String, usize)]) -> Value {
    let entries = bands
        .iter()
        .map(|(band, count)| (band.clone(), json!(count)));
    Value::Object(entries.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_are_counted_and_described() {
        let bands = ["similar", "turned_copy", "turned_copy"].map(str::to_owned);
        let row = Robustness {
            change: Alteration::QuarterTurn,
            photos: 4,
            first: 0.5,
            near: 0.75,
            bands: count_bands(bands.into_iter()),
        };
        assert_eq!(row.describe_bands(), "turned copy 50 %, similar 25 %");
        let report = QualityReport {
            robustness: vec![row],
            ..QualityReport::default()
        };
        assert!(report.to_text().contains("turned copy 50 %"));
        assert_eq!(report.to_json()["robustness"][0]["bands"]["turned_copy"], 2);
    }

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

//! The data of a report.

use serde_json::{Value, json};

use super::figure::ReportFigure;
use super::machine::MachineInfo;
use super::row::BenchRow;
use crate::bench::targets::{TARGETS, TargetVerdict};

/// Results of one or more subcommands of `bench`.
#[derive(Debug, Clone, Default)]
pub struct BenchReport {
    /// The subcommand.
    pub command: String,
    pub machine: MachineInfo,
    /// Start in RFC 3339, UTC.
    pub started_at: String,
    /// Whether the short variant was measured, which is less exact.
    pub quick: bool,
    pub rows: Vec<BenchRow>,
    pub tables: Vec<DetailTable>,
    pub figures: Vec<ReportFigure>,
    /// Facts about the run that a reader must know.
    pub notes: Vec<String>,
}

/// Details of a measurement without bars.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DetailTable {
    pub title: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl BenchReport {
    pub fn new(command: &str, quick: bool) -> Self {
        Self {
            command: command.to_owned(),
            machine: MachineInfo::read(),
            started_at: jiff::Timestamp::now()
                .strftime("%Y-%m-%dT%H:%M:%SZ")
                .to_string(),
            quick,
            ..Self::default()
        }
    }

    /// Adds all results of another report.
    pub fn append(&mut self, other: BenchReport) {
        self.rows.extend(other.rows);
        self.tables.extend(other.tables);
        self.figures.extend(other.figures);
        for note in other.notes {
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
    }

    /// Adds a row for every target of a subcommand that has none yet, so that none is forgotten, and
    /// sorts the rows into the order of the targets. Rows without a target keep their order at the end.
    pub fn complete_rows(&mut self, commands: &[&str], reason: &str) {
        for target in TARGETS {
            let is_present = self
                .rows
                .iter()
                .any(|row| row.target.is_some_and(|present| present.key == target.key));
            if commands.contains(&target.command) && !is_present {
                self.rows.push(BenchRow::not_measured(target, reason));
            }
        }
        self.rows.sort_by_key(|row| {
            row.target.map_or(usize::MAX, |target| {
                let place = TARGETS.iter().position(|other| other.key == target.key);
                place.unwrap_or(usize::MAX)
            })
        });
    }

    /// Returns how many rows have each verdict, in words.
    pub fn summary(&self) -> String {
        let count = |verdict: TargetVerdict| {
            let rows = self.rows.iter();
            rows.filter(|row| row.verdict() == Some(verdict)).count()
        };
        let missing = self.rows.iter().filter(|row| row.missing.is_some()).count();
        format!(
            "{} aims reached, {} bars reached, {} bars missed, {missing} not measured",
            count(TargetVerdict::AimReached),
            count(TargetVerdict::BarReached),
            count(TargetVerdict::BarMissed),
        )
    }

    pub fn to_json(&self) -> Value {
        let tables: Vec<Value> = self
            .tables
            .iter()
            .map(
                |table| json!({"title": table.title, "columns": table.columns, "rows": table.rows}),
            )
            .collect();
        json!({
            "command": self.command,
            "started_at": self.started_at,
            "quick": self.quick,
            "machine": self.machine.to_json(),
            "summary": self.summary(),
            "rows": self.rows.iter().map(BenchRow::to_json).collect::<Vec<_>>(),
            "tables": tables,
            "figures": self.figures.iter().map(ReportFigure::to_json).collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }
}

//! Formats an audit's report.

use lookalike_audit::{AuditReport, DifferenceKind, LibraryReport};

use super::args::AuditRunArgs;
use crate::terminal::escape_line;

/// Examples that are printed of each kind of difference.
const MAX_PRINTED_EXAMPLES: usize = 20;
/// Names that are printed of libraries without a watcher.
const MAX_PRINTED_NAMES: usize = 5;

/// The meaning of a kind of difference, and how it is repaired.
fn describe_kind(kind: DifferenceKind) -> (&'static str, &'static str) {
    match kind {
        DifferenceKind::Missing => ("indexed files without a row", "resent"),
        DifferenceKind::Stale => ("rows of an older state of their file", "resent"),
        DifferenceKind::DuplicateRows => ("images with several rows", "resent"),
        DifferenceKind::Unknown => ("rows of files that no watcher catalogues", "deleted"),
        DifferenceKind::ShouldBeGone => ("rows of files that failed or are ignored", "resent"),
        DifferenceKind::OtherContent => {
            ("files whose bytes differ from the indexed ones", "resent")
        }
    }
}

pub(super) fn format_report(report: &AuditReport) -> String {
    let mut text = format!(
        "{:<20} {:>10} {:>10} {:>10} {:>10}\n",
        "library", "files", "rows", "in flight", "differ"
    );
    for (name, library) in &report.libraries {
        let differ: u64 = library.differences.values().sum();
        text += &format!(
            "{name:<20} {:>10} {:>10} {:>10} {differ:>10}\n",
            library.catalogued, library.rows, library.in_flight
        );
    }
    for (name, library) in &report.libraries {
        text += &format_library(report, name, library);
    }
    if !report.unwatched.is_empty() {
        let rows: u64 = report.unwatched.values().sum();
        let names = report.unwatched.keys().map(String::as_str);
        let names: Vec<&str> = names.take(MAX_PRINTED_NAMES).collect();
        text += &format!(
            "\n{rows} rows of libraries without a watcher were skipped ({})\n",
            names.join(", ")
        );
    }
    text + "\n"
}

fn format_library(report: &AuditReport, name: &str, library: &LibraryReport) -> String {
    let mut text = String::new();
    for (kind, count) in &library.differences {
        let (meaning, repair) = describe_kind(*kind);
        let repaired = match library.repaired.get(kind).copied().unwrap_or(0) {
            0 => String::new(),
            repaired => format!("; {repaired} {repair}"),
        };
        text += &format!("\n{name}: {count} {} ({meaning}){repaired}\n", kind.label());
        let mut printed = 0;
        for difference in report
            .differences
            .iter()
            .filter(|difference| difference.kind == *kind && difference.library == name)
            .take(MAX_PRINTED_EXAMPLES)
        {
            let line = format!(
                "  {}  {}: {}",
                difference.id, difference.path, difference.detail
            );
            text += &format!("{}\n", escape_line(&line));
            printed += 1;
        }
        if *count > printed {
            text += &format!("  and {} more\n", count - printed);
        }
    }
    let notes = [
        &library.not_compared,
        &library.not_repaired,
        &library.not_hashed,
    ];
    for note in notes.into_iter().flatten() {
        text += &format!("\n{name}: {}\n", escape_line(note));
    }
    if library.hashed > 0 {
        text += &format!("\n{name}: {} files were read and hashed\n", library.hashed);
    }
    text
}

/// The last line of the output.
pub(super) fn format_verdict(
    first: &AuditReport,
    last: &AuditReport,
    still_in_flight: u64,
    args: &AuditRunArgs,
) -> String {
    let in_flight = match last.in_flight() {
        0 => String::new(),
        1 => "; 1 file is in flight and was not compared".to_owned(),
        files => format!("; {files} files are in flight and were not compared"),
    };
    let files: u64 = last
        .libraries
        .values()
        .map(|library| library.catalogued)
        .sum();
    let (differences, remaining) = (first.total_differences(), last.total_differences());
    if remaining == 0 && last.not_compared().next().is_some() {
        return format!("Not every library was compared{in_flight}.");
    }
    if remaining == 0 && still_in_flight > 0 {
        return format!("No difference remains in the compared files{in_flight}.");
    }
    match (differences, remaining) {
        (0, _) => format!(
            "The index equals the folders: {files} files in {:.1} s{in_flight}.",
            last.seconds
        ),
        (_, 0) => {
            format!("The index equals the folders now: all differences are repaired{in_flight}.")
        }
        (_, remaining) if !args.repair => format!(
            "The index differs from the folders in {remaining} rows{in_flight}; `lookalike audit \
             --repair` repairs them."
        ),
        (_, remaining) if args.no_wait && last.total_repaired() == remaining => format!(
            "{remaining} differences are being repaired{in_flight}: run the audit again later to \
             verify."
        ),
        (_, remaining) => format!("{remaining} differences remain{in_flight}."),
    }
}

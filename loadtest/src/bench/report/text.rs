//! The report as text.

use std::fmt::Write as _;

use super::contents::{BenchReport, DetailTable};
use super::row::BenchRow;

/// Formats a number with about three digits, without exponents.
pub fn format_number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        "–".to_owned()
    } else if value == 0.0 {
        "0".to_owned()
    } else if size >= 1000.0 {
        group_thousands(value)
    } else if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}

fn group_thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if value < 0.0 {
        grouped.insert(0, '-');
    }
    grouped
}

fn format_optional(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), format_number)
}

/// Renders the report for a terminal.
pub fn render_text(report: &BenchReport) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "machine  {}", report.machine.describe());
    if report.quick {
        let _ = writeln!(
            text,
            "quick    short measurements: the numbers are less exact"
        );
    }
    for note in &report.notes {
        let _ = writeln!(text, "note     {note}");
    }
    if !report.rows.is_empty() {
        let table = DetailTable {
            title: String::new(),
            columns: COLUMNS.map(str::to_owned).to_vec(),
            rows: report.rows.iter().map(row_cells).collect(),
        };
        text.push('\n');
        text.push_str(&render_table(&drop_empty_columns(table)));
    }
    for row in &report.rows {
        for remark in row.missing.iter().chain(&row.note) {
            let _ = writeln!(text, "  {}: {remark}", row_title(row));
        }
    }
    for table in &report.tables {
        let _ = writeln!(text, "\n{}", table.title);
        text.push_str(&render_table(table));
    }
    if report.rows.iter().any(|row| row.target.is_some()) {
        let _ = writeln!(text, "\n{}", report.summary());
    }
    text
}

pub(super) const COLUMNS: [&str; 9] = [
    "what", "ours", "peer", "unit", "ratio", "best", "bar", "aim", "verdict",
];

/// Returns the name of a row with what it is compared with.
pub(super) fn row_title(row: &BenchRow) -> String {
    match &row.against[..] {
        "" => row.name.clone(),
        against => format!("{} ÷ {against}", row.name),
    }
}

/// Returns the cells of a row, in the order of [`COLUMNS`].
pub(super) fn row_cells(row: &BenchRow) -> Vec<String> {
    vec![
        row_title(row),
        format_optional(row.ours),
        format_optional(row.peer),
        row.unit.clone(),
        format_optional(row.ratio),
        format_optional(row.best_ratio),
        format_optional(row.target.map(|target| target.bar)),
        format_optional(row.target.map(|target| target.aim)),
        row.verdict_label().to_owned(),
    ]
}

/// Removes columns in which every row has the same "no value" cell.
fn drop_empty_columns(mut table: DetailTable) -> DetailTable {
    let is_empty = |cell: &String| matches!(&cell[..], "" | "–" | "no bar");
    for column in (0..table.columns.len()).rev() {
        if table
            .rows
            .iter()
            .all(|cells| cells.get(column).is_none_or(is_empty))
        {
            table.columns.remove(column);
            for cells in &mut table.rows {
                cells.remove(column);
            }
        }
    }
    table
}

/// Aligns the first column and texts to the left, and numbers to the right.
fn render_table(table: &DetailTable) -> String {
    let lines = || std::iter::once(&table.columns).chain(&table.rows);
    let width_of = |column: usize| {
        let cells = lines().filter_map(|cells| cells.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..table.columns.len()).map(width_of).collect();
    let is_number = |column: usize| {
        let mut cells = table.rows.iter().filter_map(|cells| cells.get(column));
        cells.all(|cell| cell == "–" || cell.starts_with(|c: char| c.is_ascii_digit() || c == '-'))
    };
    let numeric: Vec<bool> = (0..widths.len())
        .map(|column| column > 0 && is_number(column))
        .collect();
    let mut text = String::new();
    for cells in lines() {
        let mut line = String::new();
        for (column, cell) in cells.iter().enumerate() {
            let width = widths.get(column).copied().unwrap_or(0);
            let _ = match numeric.get(column) {
                Some(true) => write!(line, "{cell:>width$}  "),
                _ => write!(line, "{cell:<width$}  "),
            };
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_about_three_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.1234, "0.123"),
            (1.234, "1.23"),
            (12.34, "12.3"),
            (101.4, "101"),
            (1846.0, "1,846"),
            (1_000_000.0, "1,000,000"),
            (-27_000.4, "-27,000"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(format_number(value), text);
        }
    }

    #[test]
    fn columns_are_aligned() {
        let table = DetailTable {
            title: String::new(),
            columns: vec!["kind".into(), "ms".into()],
            rows: vec![
                vec!["upload".into(), "9".into()],
                vec!["id".into(), "10.5".into()],
            ],
        };
        assert_eq!(
            render_table(&table),
            "kind      ms\nupload     9\nid      10.5\n"
        );
    }
}

//! Turns the measurements of searches into rows, tables and figures.

use super::drive::LoadResult;
use super::mix::SearchKind;
use super::recorder::KindRecord;
use crate::bench::report::{
    BenchRow, DetailTable, FigureKind, FigureSeries, ReportFigure, format_number,
};

const COLUMNS: [&str; 12] = [
    "searches by",
    "intended",
    "answered",
    "failed",
    "wrong",
    "dropped",
    "p50 ms",
    "p90 ms",
    "p99 ms",
    "p99.9 ms",
    "max ms",
    "answers/s",
];

fn table_line(name: &str, record: &KindRecord, seconds: f64) -> Vec<String> {
    let counts = [
        record.intended(),
        record.answered(),
        record.failed,
        record.wrong,
        record.dropped,
    ];
    let mut cells = vec![name.to_owned()];
    cells.extend(counts.map(|count| count.to_string()));
    cells.extend([50.0, 90.0, 99.0, 99.9, 100.0].map(|p| format_number(record.percentile_ms(p))));
    cells.push(format_number(record.answered() as f64 / seconds.max(1e-9)));
    cells
}

/// Returns the counts and percentiles of every kind of search.
pub fn load_table(title: &str, result: &LoadResult) -> DetailTable {
    let seconds = result.elapsed.as_secs_f64();
    let mut rows: Vec<Vec<String>> = SearchKind::ALL
        .into_iter()
        .map(|kind| (kind, result.record.of_kind(kind)))
        .filter(|(_, record)| record.intended() > 0)
        .map(|(kind, record)| table_line(kind.name(), record, seconds))
        .collect();
    if rows.len() > 1 {
        rows.push(table_line("all", &result.record.total(), seconds));
    }
    DetailTable {
        title: title.to_owned(),
        columns: COLUMNS.map(str::to_owned).to_vec(),
        rows,
    }
}

/// Returns the latency curves of every kind of search.
pub fn load_curves(result: &LoadResult) -> Vec<FigureSeries> {
    SearchKind::ALL
        .into_iter()
        .map(|kind| result.record.of_kind(kind).to_curve(kind.name()))
        .filter(|series| !series.points.is_empty())
        .collect()
}

/// Returns a figure of latency curves.
pub fn latency_figure(title: &str, series: Vec<FigureSeries>) -> ReportFigure {
    ReportFigure {
        title: title.to_owned(),
        kind: FigureKind::Percentiles,
        x_label: "share of searches".to_owned(),
        y_label: "latency, ms".to_owned(),
        series,
    }
}

/// Returns a figure of answers per second.
pub fn timeline_figure(result: &LoadResult) -> ReportFigure {
    let points = result.timeline.iter().enumerate();
    ReportFigure {
        title: "Answers per second".to_owned(),
        kind: FigureKind::Lines,
        x_label: "seconds".to_owned(),
        y_label: "answers/s".to_owned(),
        series: vec![FigureSeries {
            name: "all searches".to_owned(),
            points: points
                .map(|(second, answers)| (second as f64 + 1.0, *answers as f64))
                .collect(),
        }],
    }
}

/// Returns the percentiles of every kind and the throughput as rows without a bar.
pub fn load_rows(result: &LoadResult) -> Vec<BenchRow> {
    let mut rows = Vec::new();
    for kind in SearchKind::ALL {
        let record = result.record.of_kind(kind);
        if record.answered() == 0 {
            continue;
        }
        for (name, percentile) in [("p50", 50.0), ("p99", 99.0)] {
            let title = format!("search by {}, {name}", kind.name());
            rows.push(BenchRow::info(
                title,
                "ms",
                record.percentile_ms(percentile),
                record.answered(),
            ));
        }
    }
    let answers = result.answers_per_second();
    rows.push(BenchRow::info(
        "right answers",
        "searches/s",
        answers,
        result.record.total().answered(),
    ));
    rows
}

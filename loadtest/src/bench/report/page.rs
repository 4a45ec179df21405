//! The report as one self-contained HTML page.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::contents::{BenchReport, DetailTable};
use super::plot::{draw_bars, draw_figure};
use super::row::BenchRow;
use super::text::{COLUMNS, row_cells};
use crate::bench::targets::TargetVerdict;

const STYLE: &str = include_str!("page.css");

/// Renders the report as a page that references nothing outside of it.
pub fn render_page(report: &BenchReport) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "lookalike bench " (report.command) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "lookalike bench " (report.command) }
                p { (report.machine.describe()) ", " (report.started_at) }
                @if report.quick {
                    p class="remark" { "Short measurements (--quick): the numbers are less exact." }
                }
                @for note in &report.notes {
                    p class="remark" { (note) }
                }
                @if report.rows.iter().any(|row| row.target.is_some()) {
                    p class="summary" { (report.summary()) }
                    section {
                        h2 { "Relative to the bar" }
                        p { "Right of the line is better than the bar. The short mark is the aim." }
                        (draw_bars(&report.rows))
                    }
                }
                @if !report.rows.is_empty() { (render_rows(&report.rows)) }
                @for figure in &report.figures {
                    section {
                        h2 { (figure.title) }
                        (draw_figure(figure))
                    }
                }
                @for table in &report.tables { (render_detail(table)) }
            }
        }
    };
    page.into_string()
}

fn render_rows(rows: &[BenchRow]) -> Markup {
    html! {
        section {
            h2 { "Results" }
            div class="wide" { table {
                thead { tr { @for column in COLUMNS { th { (column) } } } }
                tbody {
                    @for row in rows {
                        tr {
                            @for (column, cell) in row_cells(row).iter().enumerate() {
                                @if column + 1 == COLUMNS.len() {
                                    td { span class={ "verdict " (verdict_class(row)) } { (cell) } }
                                } @else if column == 0 {
                                    td {
                                        (cell)
                                        @for remark in row.missing.iter().chain(&row.note) {
                                            small { (remark) }
                                        }
                                    }
                                } @else {
                                    td { (cell) }
                                }
                            }
                        }
                    }
                }
            } }
            p {
                "ours, peer: medians. ratio: median over the rounds of ours ÷ peer. best: ratio of the best values of "
                "both. Where lower is better, the bar is an upper limit."
            }
        }
    }
}

fn verdict_class(row: &BenchRow) -> &'static str {
    match row.verdict() {
        Some(TargetVerdict::AimReached) => "good",
        Some(TargetVerdict::BarReached) => "fair",
        Some(TargetVerdict::BarMissed) => "bad",
        None => "none",
    }
}

fn render_detail(table: &DetailTable) -> Markup {
    html! {
        section {
            h2 { (table.title) }
            div class="wide" { table {
                thead { tr { @for column in &table.columns { th { (column) } } } }
                tbody {
                    @for cells in &table.rows {
                        tr { @for cell in cells { td { (cell) } } }
                    }
                }
            } }
        }
    }
}

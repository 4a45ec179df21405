//! The report of a benchmark: rows, tables and figures, as text, JSON and an HTML page.

mod contents;
mod figure;
mod machine;
mod page;
mod plot;
mod row;
mod text;
mod write;

pub use contents::{BenchReport, DetailTable};
pub use figure::{FigureKind, FigureSeries, ReportFigure};
pub use machine::MachineInfo;
pub use page::render_page;
pub use row::BenchRow;
pub use text::{format_number, render_text};
pub use write::write_report;

#[cfg(test)]
mod tests;

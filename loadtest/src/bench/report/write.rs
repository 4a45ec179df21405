//! Writes a report to files.

use std::path::Path;

use anyhow::Context as _;
use lookalike_chassis::stdio;

use super::contents::BenchReport;
use super::page::render_page;

/// Writes `report.json` and `report.html` to a folder, which is created if it is missing.
pub fn write_report(report: &BenchReport, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let json = serde_json::to_string_pretty(&report.to_json())?;
    for (name, content) in [("report.json", json), ("report.html", render_page(report))] {
        let path = folder.join(name);
        std::fs::write(&path, content)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    stdio::eprint_line(&format!("wrote {}", folder.join("report.html").display()));
    Ok(())
}

//! `quality`: measures how well a model finds pictures of one kind, and altered copies of a picture.
//!
//! It starts its own lookalike with a folder of class folders ([`photos`]) and requests the neighbours of
//! every picture ([`service`]). Then it scores them ([`score`]), searches for altered copies ([`altered`])
//! and relates scores to right neighbours ([`calibration`]). A second lookalike indexes painted pictures with
//! little in them ([`sparse`]). The result is a [`report`] and a contact
//! [`sheet`].

pub mod altered;
pub mod arguments;
pub mod calibration;
pub mod photos;
pub mod report;
mod run;
pub mod score;
pub mod service;
pub mod sheet;
pub mod sparse;

pub use arguments::QualityArguments;

use std::path::Path;

use lookalike_chassis::stdio;

use crate::product;

/// Measures, prints the report and writes the sheet.
pub fn run(arguments: &QualityArguments) -> anyhow::Result<()> {
    let report = measure_quality(arguments)?;
    if arguments.json {
        stdio::write_line(&format!("{:#}", report.to_json()))?;
    } else {
        stdio::write_text(&report.to_text())?;
    }
    Ok(())
}

/// Measures and writes the sheet.
pub fn measure_quality(arguments: &QualityArguments) -> anyhow::Result<report::QualityReport> {
    let program = product::find_program(arguments.program.as_deref())?;
    if let Some(sheet) = &arguments.html {
        // The sheet is written after minutes of work, so check its path first.
        let folder = sheet
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        anyhow::ensure!(
            folder.is_none_or(Path::is_dir) && !sheet.is_dir(),
            "cannot write {}: --html needs a file in an existing folder",
            sheet.display()
        );
    }
    // This thread starts all processes, because they die with the thread that started them.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run::run(arguments, &program))
}

//! `quality`: how well a model finds pictures of one kind, and altered copies of one picture.
//!
//! Starts a lookalike of its own over a folder of class folders, asks it for the neighbours of
//! every picture ([`service`]), scores them ([`score_query`]), looks for altered copies ([`altered`]) and at
//! what a cosine is worth ([`calibration`]), and shows the numbers ([`report`]) and the pictures themselves ([`sheet`]).

pub mod altered;
pub mod arguments;
pub mod calibration;
pub mod photos;
pub mod report;
mod run;
pub mod score;
pub mod service;
pub mod sheet;

pub use arguments::QualityArguments;

use std::path::Path;

use crate::product;

/// Measures, prints the report and writes the sheet.
///
/// # Errors
/// When it can't be measured.
pub fn run(arguments: &QualityArguments) -> anyhow::Result<()> {
    let report = measure_quality(arguments)?;
    if arguments.json {
        println!("{:#}", report.to_json());
    } else {
        print!("{}", report.to_text());
    }
    Ok(())
}

/// Measures and writes the sheet.
///
/// # Errors
/// When it can't be measured.
pub fn measure_quality(arguments: &QualityArguments) -> anyhow::Result<report::QualityReport> {
    let program = product::find_program(arguments.program.as_deref())?;
    if let Some(sheet) = &arguments.html {
        // Minutes of work end there: better to know now.
        let folder = sheet
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        anyhow::ensure!(
            folder.is_none_or(Path::is_dir) && !sheet.is_dir(),
            "{}: name a file in a folder that exists with --html",
            sheet.display()
        );
    }
    // One thread, this one, starts all processes: they die with it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run::run(arguments, &program))
}

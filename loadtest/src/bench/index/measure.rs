//! One measurement of the index, from the empty collection to the report.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use lookalike_chassis::stdio;
use serde_json::json;

use super::arguments::IndexArguments;
use super::grid::{grid_figure, grid_table, measure_grid, start_grid};
use super::ours::SyntheticIndex;
use super::vectors::{ExactSearch, SyntheticVectors};
use crate::bench::instance::{BenchInstance, instance_options};
use crate::bench::peers::environment::PeerEnvironment;
use crate::bench::report::{BenchReport, BenchRow};
use crate::bench::targets::find_target;
use crate::product;

const SEED: u64 = 1;

/// Measures the index of lookalike and the variants of the arguments.
pub async fn measure_index(
    arguments: &IndexArguments,
    dir: &Path,
    stop: &AtomicBool,
) -> anyhow::Result<BenchReport> {
    let options = &arguments.options;
    let mut report = BenchReport::new("index", options.quick);
    let (instance, milvus_url) = match &arguments.milvus_url {
        Some(url) => (None, url.clone()),
        None => {
            let program = product::find_program(options.program.as_deref())?;
            let options = instance_options(&program, dir, "index", None)?;
            let instance = BenchInstance::start(&options).await?;
            let url = instance.milvus_url()?;
            (Some(instance), url)
        }
    };
    let index = SyntheticIndex::create(&milvus_url, usize::from(arguments.dimension)).await?;
    let measured = measure_rows(arguments, &index, &milvus_url, dir, stop, &mut report).await;
    let dropped = index.drop_collection().await;
    if let Some(instance) = instance {
        instance.stop().await;
    }
    measured?;
    dropped?;
    report.complete_rows(&["index"], "the run was interrupted");
    Ok(report)
}

async fn measure_rows(
    arguments: &IndexArguments,
    index: &SyntheticIndex,
    milvus_url: &str,
    dir: &Path,
    stop: &AtomicBool,
    report: &mut BenchReport,
) -> anyhow::Result<()> {
    let rows = arguments.row_count();
    let dimension = usize::from(arguments.dimension);
    let source = SyntheticVectors::new(dimension, rows, SEED);
    let queries = (0..usize::from(arguments.queries)).map(|number| source.query(number));
    let mut exact = ExactSearch::new(queries.collect());
    report.notes.push(format!(
        "index: {rows} clustered vectors of {dimension} numbers, {} queries, ten neighbours each",
        arguments.queries
    ));
    let rate = index.write_rows(&source, rows, &mut exact).await?;
    report
        .rows
        .push(BenchRow::info("upsert", "rows/s", rate, rows as u64));
    let peer = PeerEnvironment::find(&arguments.options, &dir.join("peers"))
        .map_err(anyhow::Error::msg)
        .and_then(|environment| {
            start_grid(&environment, milvus_url, &index.collection(), &exact, dir)
        });
    let mut note = String::new();
    let mut peer = match peer {
        Ok(peer) => Some(peer),
        Err(error) => {
            report
                .notes
                .push(format!("other indexes: not measured: {error:#}"));
            note = "the rows are searched as they arrived, because only pymilvus can wait for the index"
                .to_owned();
            None
        }
    };
    if let Some(peer) = &mut peer {
        stdio::eprint_line("waiting for the index");
        peer.request(&json!({"wait": true}))?;
    }
    stdio::eprint_line("searching with the default parameters");
    // The first run warms the server up.
    index.search_all(&exact).await?;
    let ours = index.search_all(&exact).await?;
    let searches = ours.latencies.len() as u64;
    let row = BenchRow::from_value(find_target("index.recall"), ours.recall, searches);
    report.rows.push(if note.is_empty() {
        row
    } else {
        row.with_note(note)
    });
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        let name = format!("search of {rows} rows, {name}");
        report
            .rows
            .push(BenchRow::info(name, "ms", ours.latency_at(share), searches));
    }
    if let Some(peer) = &mut peer
        && !stop.load(Ordering::Relaxed)
    {
        let grid = measure_grid(arguments, peer, rows, stop);
        report.notes.extend(grid.refused);
        if !grid.points.is_empty() {
            report.tables.push(grid_table(&grid.points));
            report.figures.push(grid_figure(&grid.points));
        }
    }
    Ok(())
}

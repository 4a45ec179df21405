//! Indexes with other parameters on the same rows, through pymilvus.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use lookalike_chassis::stdio;
use serde_json::{Value, json};

use super::arguments::IndexArguments;
use super::vectors::ExactSearch;
use crate::bench::peers::environment::PeerEnvironment;
use crate::bench::peers::process::PeerProcess;
use crate::bench::report::{DetailTable, FigureKind, FigureSeries, ReportFigure, format_number};

/// Number of lists that an inverted index searches; its quality parameter.
const NPROBES: [u32; 4] = [8, 16, 32, 64];

/// One index to build.
#[derive(Debug, Clone, PartialEq)]
struct IndexVariant {
    name: String,
    index_type: &'static str,
    params: Value,
    /// Parameters of the searches, and how the table names them.
    searches: Vec<(String, Value)>,
}

/// One line of the grid.
#[derive(Debug, Clone, PartialEq)]
pub struct GridPoint {
    pub variant: String,
    pub search: String,
    pub build_seconds: f64,
    pub recall: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// What the grid found, and what it could not measure.
#[derive(Debug, Clone, Default)]
pub struct GridResult {
    pub points: Vec<GridPoint>,
    /// Variants that the server does not support, with the reason.
    pub refused: Vec<String>,
}

fn variants(arguments: &IndexArguments, rows: usize) -> Vec<IndexVariant> {
    let ef_searches = || -> Vec<(String, Value)> {
        let values = arguments.ef.iter();
        values
            .map(|ef| (format!("ef {ef}"), json!({"ef": ef})))
            .collect()
    };
    let mut variants: Vec<IndexVariant> = arguments
        .hnsw
        .iter()
        .map(|parameters| IndexVariant {
            name: format!(
                "HNSW M {}, efConstruction {}",
                parameters.m, parameters.ef_construction
            ),
            index_type: "HNSW",
            params: json!({"M": parameters.m, "efConstruction": parameters.ef_construction}),
            searches: ef_searches(),
        })
        .collect();
    // Quantised variants, which need less memory.
    for (name, index_type, mut params) in [
        ("HNSW_SQ int8", "HNSW_SQ", json!({"sq_type": "SQ8"})),
        ("HNSW_SQ bf16", "HNSW_SQ", json!({"sq_type": "BF16"})),
    ] {
        params["M"] = json!(16);
        params["efConstruction"] = json!(200);
        variants.push(IndexVariant {
            name: name.to_owned(),
            index_type,
            params,
            searches: ef_searches(),
        });
    }
    // Four times the square root of the rows is Milvus' own advice.
    let lists = ((rows as f64).sqrt() * 4.0) as u32;
    for (name, index_type) in [("IVF_SQ8 (int8)", "IVF_SQ8"), ("SCANN (4 bits)", "SCANN")] {
        variants.push(IndexVariant {
            name: name.to_owned(),
            index_type,
            params: json!({"nlist": lists.clamp(1, 65_536)}),
            searches: NPROBES
                .iter()
                .map(|count| (format!("nprobe {count}"), json!({"nprobe": count})))
                .collect(),
        });
    }
    variants
}

/// Starts the Python program for a collection, with the queries and their exact neighbours.
pub fn start_grid(
    environment: &PeerEnvironment,
    milvus_url: &str,
    collection: &str,
    exact: &ExactSearch,
    dir: &Path,
) -> anyhow::Result<PeerProcess> {
    let (queries, truth) = (dir.join("queries.f32"), dir.join("truth.u32"));
    let numbers = exact.queries().iter().flatten();
    write_file(
        &queries,
        &numbers.flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>(),
    )?;
    let neighbours = exact.neighbours();
    let numbers = neighbours.iter().flatten();
    write_file(
        &truth,
        &numbers.flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>(),
    )?;
    let dimension = exact.queries().first().map_or(0, Vec::len);
    let mut command = environment.command("index.py");
    command
        .args(["--milvus", milvus_url, "--collection", collection])
        .args(["--dimension", &dimension.to_string(), "--queries"])
        .arg(&queries)
        .arg("--truth")
        .arg(&truth);
    PeerProcess::start(command, &dir.join("index.log"))
}

fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Builds every variant and measures its searches.
pub fn measure_grid(
    arguments: &IndexArguments,
    peer: &mut PeerProcess,
    rows: usize,
    stop: &AtomicBool,
) -> GridResult {
    let mut result = GridResult::default();
    for variant in variants(arguments, rows) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        stdio::eprint_line(&format!("building {}", variant.name));
        if let Err(error) = measure_variant(peer, &variant, &mut result.points) {
            result.refused.push(format!("{}: {error:#}", variant.name));
        }
    }
    result
}

fn measure_variant(
    peer: &mut PeerProcess,
    variant: &IndexVariant,
    points: &mut Vec<GridPoint>,
) -> anyhow::Result<()> {
    let build = json!({"build": {"index_type": variant.index_type, "params": variant.params}});
    let built = peer.request(&build)?;
    for (search, params) in &variant.searches {
        let answer = peer.request(&json!({"search": params}))?;
        let number = |answer: &Value, key: &str| answer[key].as_f64().unwrap_or(f64::NAN);
        points.push(GridPoint {
            variant: variant.name.clone(),
            search: search.clone(),
            build_seconds: number(&built, "seconds"),
            recall: number(&answer, "recall"),
            p50_ms: number(&answer, "p50_ms"),
            p99_ms: number(&answer, "p99_ms"),
        });
    }
    Ok(())
}

/// Returns the grid as a table.
pub fn grid_table(points: &[GridPoint]) -> DetailTable {
    let columns = [
        "index",
        "search",
        "recall@10",
        "p50 ms",
        "p99 ms",
        "build s",
    ];
    let row = |point: &GridPoint| {
        vec![
            point.variant.clone(),
            point.search.clone(),
            format!("{:.4}", point.recall),
            format_number(point.p50_ms),
            format_number(point.p99_ms),
            format_number(point.build_seconds),
        ]
    };
    DetailTable {
        title: "Index parameters".to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: points.iter().map(row).collect(),
    }
}

/// Returns recall over latency, one curve per index.
pub fn grid_figure(points: &[GridPoint]) -> ReportFigure {
    let mut series: Vec<FigureSeries> = Vec::new();
    for point in points {
        let place = (point.p50_ms, point.recall);
        match series
            .iter_mut()
            .find(|series| series.name == point.variant)
        {
            Some(series) => series.points.push(place),
            None => series.push(FigureSeries {
                name: point.variant.clone(),
                points: vec![place],
            }),
        }
    }
    ReportFigure {
        title: "Recall over latency".to_owned(),
        kind: FigureKind::Scatter,
        x_label: "p50 of a search, ms".to_owned(),
        y_label: "recall@10".to_owned(),
        series,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::options::BenchOptions;

    #[test]
    fn every_chosen_variant_is_built_and_searched() {
        let arguments = IndexArguments::with_options(&BenchOptions::default());
        let variants = variants(&arguments, 1_000_000);
        assert_eq!(variants.len(), arguments.hnsw.len() + 4);
        assert_eq!(variants[0].params, json!({"M": 8, "efConstruction": 200}));
        assert_eq!(variants[0].searches.len(), 5);
        assert_eq!(variants.last().unwrap().params["nlist"], 4000);
    }

    #[test]
    fn points_of_one_index_form_a_curve() {
        let point = |variant: &str, recall| GridPoint {
            variant: variant.to_owned(),
            search: "ef 64".to_owned(),
            build_seconds: 2.0,
            recall,
            p50_ms: 1.5,
            p99_ms: 3.0,
        };
        let points = [point("a", 0.9), point("b", 0.8), point("a", 0.95)];
        let figure = grid_figure(&points);
        assert_eq!(figure.series.len(), 2);
        assert_eq!(figure.series[0].points, [(1.5, 0.9), (1.5, 0.95)]);
        assert_eq!(grid_table(&points).rows[0][2], "0.9000");
    }
}

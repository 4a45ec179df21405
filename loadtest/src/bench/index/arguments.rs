//! Command line of `bench index`.

use clap::Args;

use crate::bench::options::BenchOptions;

/// Measure the vector index: upsert rate, search latency, and recall against exact neighbours.
///
/// Writes synthetic clustered vectors through lookalike's own index code into a Milvus that `lookalike up` starts, and
/// searches them. Then pymilvus replaces the index by others (HNSW with other parameters, quantised variants) and
/// measures each on the same rows.
#[derive(Debug, Clone, Args)]
// It measures made-up vectors.
#[command(mut_arg("photos", |photos| photos.hide(true)))]
#[command(after_help = "Examples:
  lookalike-loadtest bench index --rows 100000
  lookalike-loadtest bench index --rows 1000000 --milvus-url http://milvus:19530 --out report
  lookalike-loadtest bench index --hnsw 16/200,32/200 --ef 32,64,128

Exit codes: 0 measured, 1 failed, 2 wrong usage.")]
pub struct IndexArguments {
    /// Number of rows [default: 100000, or 10000 with --quick].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1000..=10_000_000))]
    pub rows: Option<u32>,

    /// Numbers of a vector.
    #[arg(long, value_name = "N", default_value_t = 384, value_parser = clap::value_parser!(u16).range(8..=4096))]
    pub dimension: u16,

    /// Number of queries.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u16).range(10..=10_000))]
    pub queries: u16,

    /// HNSW variants to build, as M/efConstruction.
    #[arg(long, value_name = "M/EFC", value_delimiter = ',', value_parser = parse_hnsw,
        default_value = "8/200,16/100,16/200,32/200")]
    pub hnsw: Vec<HnswParameters>,

    /// Values of ef, the number of candidates of a search.
    #[arg(long, value_name = "EF", value_delimiter = ',', default_value = "16,32,64,128,256",
        value_parser = clap::value_parser!(u16).range(10..=32_768))]
    pub ef: Vec<u16>,

    /// Milvus to use [default: starts its own].
    #[arg(long, value_name = "URL")]
    pub milvus_url: Option<String>,

    #[command(flatten)]
    pub options: BenchOptions,
}

/// Parameters of building an HNSW index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HnswParameters {
    /// Neighbours per row.
    pub m: u16,
    /// Candidates while building.
    pub ef_construction: u16,
}

impl IndexArguments {
    pub fn with_options(options: &BenchOptions) -> Self {
        let hnsw = |m, ef_construction| HnswParameters { m, ef_construction };
        Self {
            rows: None,
            dimension: 384,
            queries: 200,
            hnsw: vec![hnsw(8, 200), hnsw(16, 100), hnsw(16, 200), hnsw(32, 200)],
            ef: vec![16, 32, 64, 128, 256],
            milvus_url: None,
            options: options.clone(),
        }
    }

    pub fn row_count(&self) -> usize {
        let default = if self.options.quick { 10_000 } else { 100_000 };
        self.rows.map_or(default, |rows| rows as usize)
    }
}

fn parse_hnsw(text: &str) -> Result<HnswParameters, String> {
    let parsed = text.split_once('/').and_then(|(m, ef_construction)| {
        Some(HnswParameters {
            m: m.trim().parse().ok().filter(|m| (2..=2048).contains(m))?,
            ef_construction: ef_construction.trim().parse().ok().filter(|ef| *ef >= 8)?,
        })
    });
    parsed.ok_or_else(|| "write it as M/efConstruction, such as 16/200".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hnsw_parameters_are_parsed() {
        let expected = HnswParameters {
            m: 16,
            ef_construction: 200,
        };
        assert_eq!(parse_hnsw("16/200"), Ok(expected));
        for wrong in ["16", "1/200", "16/4", "x/y"] {
            assert!(parse_hnsw(wrong).is_err(), "{wrong}");
        }
    }
}

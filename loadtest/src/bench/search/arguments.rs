//! Command line of `bench search`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::arrivals::ArrivalPattern;
use super::drive::LoadPattern;
use super::mix::SearchMix;
use super::workload::parse_header;
use crate::bench::options::BenchOptions;
use crate::paths::{existing_file, existing_folder};

/// Measure searches: latency at a given rate, or throughput of a number of clients.
///
/// With --url, the command measures a running lookalike. By default requests arrive in an open loop: at --rate per
/// second, at random times, whether or not earlier ones are answered. Latencies count from the time at which a request
/// should have started, so a server that stops for a while looks as bad as it is. --clients measures a closed loop
/// instead: each client sends its next search when it has the answer to the last one.
///
/// Every answer is checked: hits are sorted, an uploaded picture that is indexed finds itself first, and a picture is
/// not its own neighbour. Ctrl-C ends the run and prints what was measured.
///
/// Without --url, the command starts its own lookalike, indexes photos, and measures the rows of the table of targets:
/// 16 clients, searches at rest and while indexing, and the usual system (a FastAPI service with timm and pymilvus).
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  lookalike-loadtest bench search --url http://127.0.0.1:8080 --rate 20 --seconds 60
  lookalike-loadtest bench search --url http://127.0.0.1:8080 --mix upload=60,id=30,text=10
  lookalike-loadtest bench search --url http://127.0.0.1:8080 --clients 16 --photos ~/Pictures
  lookalike-loadtest bench search --photos ~/Pictures --out report

Exit codes: 0 measured and all answers were right, 1 failed, or searches failed or were wrong, 2 wrong usage.")]
pub struct SearchArguments {
    /// Address of the lookalike to measure [default: starts its own].
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    pub url: Option<String>,

    /// Searches per second (open loop).
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = parse_rate, requires = "url")]
    pub rate: f64,

    /// Number of clients that search without pause (closed loop), instead of --rate.
    #[arg(long, value_name = "N", conflicts_with_all = ["rate", "arrivals"], requires = "url",
        value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub clients: Option<u16>,

    /// How the requests of an open loop are spread.
    #[arg(long, value_enum, default_value_t = ArrivalPattern::Poisson, requires = "url")]
    pub arrivals: ArrivalPattern,

    /// Duration of a measurement in seconds [default: 30, or 5 with --quick].
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: Option<u64>,

    /// Seconds before the measurement that are not recorded.
    #[arg(long, value_name = "S", default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub warm_up: u64,

    /// Kinds of searches with their weights: upload, id and text.
    #[arg(long, value_name = "MIX", default_value = "upload=1", requires = "url")]
    pub mix: SearchMix,

    /// Hits per search.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub limit: u16,

    /// Searches that may be in flight in an open loop; further ones are dropped and count as failed.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_in_flight: u32,

    /// Timeout of a search in seconds.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub timeout: u64,

    /// Header line to send with every request, as 'Name: value'; can be repeated. The API key in LOOKALIKE_API_KEY is
    /// sent unless the lines contain Authorization.
    #[arg(long, value_name = "LINE", value_parser = parse_header_line)]
    pub header: Vec<String>,

    /// File with the texts of searches by text, one per line.
    #[arg(long, value_name = "FILE", value_parser = existing_file(), requires = "url")]
    pub texts: Option<PathBuf>,

    /// Folder on this machine that the lookalike of --url watches. While searches are measured, new pictures are
    /// copied into a subfolder, which is removed at the end.
    #[arg(long, value_name = "FOLDER", value_parser = existing_folder(), requires = "url")]
    pub ingest_into: Option<PathBuf>,

    #[command(flatten)]
    pub options: BenchOptions,
}

impl SearchArguments {
    /// The defaults of the command line.
    pub fn with_options(options: &BenchOptions) -> Self {
        Self {
            url: None,
            rate: 10.0,
            clients: None,
            arrivals: ArrivalPattern::Poisson,
            seconds: None,
            warm_up: 2,
            mix: SearchMix::UPLOADS,
            limit: 10,
            max_in_flight: 256,
            timeout: 10,
            header: Vec::new(),
            texts: None,
            ingest_into: None,
            options: options.clone(),
        }
    }

    pub fn duration(&self) -> Duration {
        let default = if self.options.quick { 5 } else { 30 };
        Duration::from_secs(self.seconds.unwrap_or(default))
    }

    pub fn pattern(&self) -> LoadPattern {
        match self.clients {
            Some(clients) => LoadPattern::Closed {
                clients: usize::from(clients),
            },
            None => LoadPattern::Open {
                rate: self.rate,
                arrivals: self.arrivals,
                max_in_flight: self.max_in_flight as usize,
            },
        }
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.01..=100_000.0).contains(&rate) => Ok(rate),
        _ => Err("must be a number from 0.01 to 100000".to_owned()),
    }
}

fn parse_url(text: &str) -> Result<String, String> {
    if text.starts_with("http://") || text.starts_with("https://") {
        Ok(text.to_owned())
    } else {
        Err("must start with http:// or https://".to_owned())
    }
}

fn parse_header_line(line: &str) -> Result<String, String> {
    match parse_header(line) {
        Ok(_) => Ok(line.to_owned()),
        Err(error) => Err(format!("{error:#}")),
    }
}

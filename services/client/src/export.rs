//! `export`: writes the pictures of the index, with their attributes and vectors, to a file.

mod format;
mod output;
mod rows;

use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use lookalike_chassis::{Retry, stdio};
use serde_json::Value;

use crate::duration_arg::parse_nonzero_duration;
use crate::search::parse_filter;
use crate::service::{ServiceArgs, ServiceClient, is_transient};
use crate::usage_error::{format_error, usage_error};
pub use format::ExportFormat;
use output::ExportOutput;
use rows::RowWriter;

#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    pub service: ServiceArgs,
    /// The file to write, which appears when it is complete (default: standard output)
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Format (default: that of the file's extension, else jsonl)
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<ExportFormat>,
    /// Also write the vector of each picture; needs a connection to Milvus
    #[arg(long)]
    pub vectors: bool,
    /// Only this library
    #[arg(long, value_name = "NAME")]
    pub library: Option<String>,
    /// Only pictures that match this filter, in JSON
    #[arg(long, value_name = "JSON", value_parser = parse_filter)]
    pub filter: Option<Value>,
    /// Pictures in one request
    #[arg(long, value_name = "COUNT", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub page_size: u32,
    /// How long to repeat a request while the service is unreachable (45s, 10m)
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = parse_nonzero_duration)]
    pub retry_timeout: Duration,
    /// Milvus, for --vectors (default: that of the running `lookalike up`)
    #[arg(long, value_name = "URL")]
    pub milvus_url: Option<String>,
}

/// The examples in the help of `export`.
pub const EXAMPLES: &str = "Examples:\n  \
    lookalike export --output pictures.jsonl             one JSON object per line, as GET /v1/images\n  \
    lookalike export --format csv --filter '{\"taken_at\": \"2026\"}' > 2026.csv\n  \
    lookalike export --output vectors.npy --library shop\n  \
    lookalike export --vectors | gzip > pictures.jsonl.gz\n\n\
    vectors.npy is a matrix for numpy.load; each of its rows belongs to the same line of\n\
    vectors.ids.txt. Pictures are in the order of\n\
    their ids. If the command fails or is stopped, it leaves no file behind; start it again.";

impl ExportArgs {
    /// The format that was chosen, or that the name of the file implies.
    pub fn format(&self) -> ExportFormat {
        let extension = self.output.as_ref().and_then(|file| file.extension());
        match (self.format, extension.and_then(|e| e.to_str())) {
            (Some(format), _) => format,
            (None, Some("csv")) => ExportFormat::Csv,
            (None, Some("npy")) => ExportFormat::Npy,
            (None, _) => ExportFormat::Jsonl,
        }
    }

    /// Whether vectors are part of the result.
    pub fn needs_vectors(&self) -> bool {
        self.vectors || self.format() == ExportFormat::Npy
    }
}

/// Vectors by image id.
pub type VectorsById = HashMap<String, Vec<f32>>;

/// Reads the vectors of images from the index: the API does not contain them. An image that has left
/// the index meanwhile is missing from the result.
pub type VectorReader =
    Box<dyn Fn(Vec<String>) -> Pin<Box<dyn Future<Output = Result<VectorsById>>>>>;

/// Writes all pictures that match. `read_vectors` is needed if [`ExportArgs::needs_vectors`].
///
/// # Errors
/// If it is stopped by Ctrl-C, too: then no file is written.
pub async fn run_export(
    service: &ServiceClient,
    args: &ExportArgs,
    read_vectors: Option<VectorReader>,
) -> Result<()> {
    if args.format() == ExportFormat::Npy && args.output.is_none() {
        return Err(usage_error(anyhow!(
            "npy consists of two files: give --output FILE.npy"
        )));
    }
    let progress = ExportProgress::new(count_pictures(service, args).await);
    let exported = tokio::select! {
        result = write_pages(service, args, read_vectors.as_ref(), &progress) => result,
        _ = tokio::signal::ctrl_c() => Err(anyhow!("stopped")),
    };
    progress.bar.finish_and_clear();
    let summary = exported.map_err(|error| match &args.output {
        Some(file) => error.context(format!("{} was not written", file.display())),
        None => error,
    })?;
    if let Some(file) = &args.output {
        stdio::eprint_line(&crate::terminal::escape_line(&format!(
            "{} pictures in {}",
            summary.written,
            file.display()
        )));
    }
    if summary.without_vector > 0 {
        stdio::eprint_line(&format!(
            "{} pictures left the index meanwhile, and are left out",
            summary.without_vector
        ));
    }
    Ok(())
}

/// What was written.
#[derive(Debug, Default)]
struct ExportSummary {
    written: u64,
    without_vector: u64,
}

async fn write_pages(
    service: &ServiceClient,
    args: &ExportArgs,
    read_vectors: Option<&VectorReader>,
    progress: &ExportProgress,
) -> Result<ExportSummary> {
    let mut output = ExportOutput::create(args.output.as_deref(), args.format())?;
    let mut writer = RowWriter::new(args.format(), args.needs_vectors());
    let mut summary = ExportSummary::default();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = vec![("limit", args.page_size.to_string())];
        query.extend(args.library.clone().map(|library| ("library", library)));
        let filter = args.filter.as_ref();
        query.extend(filter.map(|filter| ("filter", filter.to_string())));
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page = read_page(service, args, &query).await?;
        let Some(images) = page["images"].as_array() else {
            bail!("{} sent a page without images", service.url());
        };
        let vectors = match read_vectors {
            Some(read) if args.needs_vectors() => Some(read(ids_of(images)).await?),
            _ => None,
        };
        for image in images {
            match (&vectors, image["id"].as_str()) {
                (Some(vectors), Some(id)) => match vectors.get(id) {
                    Some(vector) => writer.add_row(image, Some(vector))?,
                    None => {
                        summary.without_vector += 1;
                        continue;
                    }
                },
                _ => writer.add_row(image, None)?,
            }
            summary.written += 1;
        }
        output.write_rows(&mut writer)?;
        progress.bar.set_position(summary.written);
        match page["cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    output.finish(&mut writer)?;
    Ok(summary)
}

/// Repeats a request while the service restarts or is overloaded.
async fn read_page(
    service: &ServiceClient,
    args: &ExportArgs,
    query: &[(&str, String)],
) -> Result<Value> {
    let retry = Retry::new(Duration::from_millis(250), Duration::from_secs(5))
        .with_timeout(args.retry_timeout);
    let mut is_first = true;
    let report_once = |error: &anyhow::Error| {
        let repeat = is_transient(error);
        if repeat && std::mem::take(&mut is_first) {
            stdio::eprint_line(&format!("{}; trying again", format_error(error)));
        }
        repeat
    };
    retry
        .run(|| service.get_json("/v1/images", query), report_once)
        .await
}

fn ids_of(images: &[Value]) -> Vec<String> {
    images
        .iter()
        .filter_map(|image| image["id"].as_str().map(str::to_owned))
        .collect()
}

/// How many pictures will be written, if the service can tell; it is only shown.
async fn count_pictures(service: &ServiceClient, args: &ExportArgs) -> Option<u64> {
    if args.filter.is_some() {
        return None;
    }
    let stats = service.get_json("/v1/stats", &[]).await.ok()?;
    match &args.library {
        None => stats["indexed"].as_u64(),
        Some(library) => stats["libraries"]
            .as_array()?
            .iter()
            .find(|entry| entry["name"] == library.as_str())?["indexed"]
            .as_u64(),
    }
}

/// A bar on standard error; hidden if that is no terminal.
struct ExportProgress {
    bar: ProgressBar,
}

impl ExportProgress {
    fn new(total: Option<u64>) -> Self {
        let (bar, template) = match total {
            Some(total) => (
                ProgressBar::new(total),
                "{spinner} exporting {wide_bar} {pos}/{len} {eta}",
            ),
            None => (ProgressBar::new_spinner(), "{spinner} exporting {pos}"),
        };
        let style = ProgressStyle::with_template(template);
        let style = style.expect("the templates are constant and valid");
        bar.set_style(style);
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar }
    }
}

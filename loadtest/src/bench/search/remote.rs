//! Measures a running lookalike.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use lookalike_chassis::stdio;
use reqwest::header::AUTHORIZATION;
use tokio::task::JoinHandle;

use super::arguments::SearchArguments;
use super::drive::{LoadPattern, LoadPlan, LoadResult, run_load};
use super::ingestion::FolderFeed;
use super::mix::SearchKind;
use super::tables::{latency_figure, load_curves, load_rows, load_table, timeline_figure};
use super::workload::{ConnectionOptions, MAX_UPLOADS, SearchWorkload, parse_header};
use crate::bench::photos::{PhotoFile, list_photos};
use crate::bench::report::BenchReport;

/// Number of originals of the service that are uploaded in turn.
const INDEXED_UPLOADS: usize = 200;

/// How often the counts are read while pictures are added.
const COUNT_INTERVAL: Duration = Duration::from_millis(500);

/// Connects to the lookalike of `--url` and prepares its requests.
pub async fn prepare_workload(
    arguments: &SearchArguments,
    url: &str,
) -> anyhow::Result<SearchWorkload> {
    let mut headers = arguments.header.clone();
    let has_key = headers
        .iter()
        .any(|line| parse_header(line).is_ok_and(|(name, _)| name == AUTHORIZATION));
    if let Ok(key) = std::env::var("LOOKALIKE_API_KEY")
        && !key.is_empty()
        && !has_key
    {
        headers.push(format!("Authorization: Bearer {key}"));
    }
    let options = ConnectionOptions {
        timeout: Duration::from_secs(arguments.timeout),
        headers,
    };
    let limit = usize::from(arguments.limit);
    let mut workload = SearchWorkload::connect(url, &options, limit).await?;
    if arguments.mix.contains(SearchKind::Upload) {
        match &arguments.options.photos {
            Some(folder) => workload.upload_files(&list_photos(folder)?)?,
            None => workload.upload_indexed(INDEXED_UPLOADS, 1).await?,
        }
    }
    if let Some(file) = &arguments.texts {
        workload.read_texts(file)?;
    }
    workload.probe_kinds(arguments.mix).await?;
    Ok(workload)
}

/// Measures the searches of the arguments and returns the report with the number of problems.
pub async fn measure_remote(
    arguments: &SearchArguments,
    url: &str,
    stop: &AtomicBool,
) -> anyhow::Result<(BenchReport, u64)> {
    let mut report = BenchReport::new("search", arguments.options.quick);
    let workload = Arc::new(prepare_workload(arguments, url).await?);
    let pattern = describe_pattern(arguments.pattern());
    stdio::eprint_line(&format!(
        "{url}: model {}, {} pictures; {pattern} for {} s",
        workload.model,
        workload.image_count(),
        arguments.duration().as_secs()
    ));
    report.notes.push(format!(
        "{url}, model {}, {} pictures; {pattern}; {} of {} uploads are indexed and must find themselves",
        workload.model,
        workload.image_count(),
        workload.checkable_count(),
        workload.upload_count()
    ));
    let plan = LoadPlan {
        pattern: arguments.pattern(),
        mix: arguments.mix,
        warm_up: Duration::from_secs(arguments.warm_up),
        duration: arguments.duration(),
        seed: 1,
        shows_progress: true,
    };
    let result = match &arguments.ingest_into {
        None => run_load(&workload, &plan, stop).await,
        Some(library) => {
            let library = library
                .canonicalize()
                .with_context(|| format!("cannot use {}", library.display()))?;
            let photos = arguments.options.photos.as_deref().unwrap_or(&library);
            let mut photos = list_photos(photos)?;
            photos.truncate(MAX_UPLOADS);
            let feed = FolderFeed::start(photos, &library, mark_of_run())?;
            let (result, written) = run_while_ingesting(&workload, &plan, feed, stop).await?;
            report
                .notes
                .push(format!("{written} pictures were added meanwhile"));
            result
        }
    };
    if stop.load(Ordering::Relaxed) {
        report.notes.push("the run was interrupted".to_owned());
    }
    report.notes.extend(result.record.examples.iter().cloned());
    report.rows.extend(load_rows(&result));
    report.tables.push(load_table("Searches", &result));
    report
        .figures
        .push(latency_figure("Latency", load_curves(&result)));
    report.figures.push(timeline_figure(&result));
    Ok((report, result.record.problem_count()))
}

/// Runs a plan while pictures are added. Returns the result and the number of added pictures.
pub async fn run_while_ingesting(
    workload: &Arc<SearchWorkload>,
    plan: &LoadPlan,
    feed: FolderFeed,
    stop: &AtomicBool,
) -> anyhow::Result<(LoadResult, u64)> {
    let feed = Arc::new(feed);
    let counting = count_processed(Arc::clone(workload), Arc::clone(&feed));
    let result = run_load(workload, plan, stop).await;
    counting.abort();
    // The task holds the other reference until it has ended.
    let _ = counting.await;
    let feed = Arc::into_inner(feed).context("the counting task still runs")?;
    let written = tokio::task::spawn_blocking(move || feed.finish()).await??;
    Ok((result, written))
}

/// Reports to the feed how many files were processed since now.
fn count_processed(workload: Arc<SearchWorkload>, feed: Arc<FolderFeed>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut before = None;
        loop {
            if let Ok(stats) = workload.get_json("/v1/stats").await {
                let counts =
                    ["indexed", "failed", "ignored"].map(|key| stats[key].as_u64().unwrap_or(0));
                let processed: u64 = counts.iter().sum();
                let before = *before.get_or_insert(processed);
                feed.report_processed(processed.saturating_sub(before));
            }
            tokio::time::sleep(COUNT_INTERVAL).await;
        }
    })
}

/// A number that no other run uses, so that contents of runs differ.
pub fn mark_of_run() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_micros()).unwrap_or(u64::MAX))
}

/// Returns up to [`MAX_UPLOADS`] photos, spread over all of them.
pub fn choose_uploads(photos: &[PhotoFile]) -> Vec<PhotoFile> {
    let step = photos.len().div_ceil(MAX_UPLOADS).max(1);
    photos.iter().step_by(step).cloned().collect()
}

fn describe_pattern(pattern: LoadPattern) -> String {
    match pattern {
        LoadPattern::Open { rate, arrivals, .. } => {
            format!("open loop, {rate} searches/s, {arrivals:?} arrivals").to_lowercase()
        }
        LoadPattern::Closed { clients } => format!("closed loop, {clients} clients"),
    }
}

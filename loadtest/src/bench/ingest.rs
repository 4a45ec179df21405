//! `bench ingest`: from a folder of photos to searchable.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use lookalike_chassis::stdio;

use super::instance::{BenchInstance, instance_options};
use super::models::ModelFiles;
use super::network::measure_alone;
use super::options::BenchOptions;
use super::peers::environment::PeerEnvironment;
use super::photos::{PhotoFile, link_photos, provide_photos};
use super::report::{BenchReport, BenchRow};
use super::samples::{PairedSamples, median_of};
use super::search::usual::UsualSystem;
use super::targets::find_target;
use super::vision::measure_decoding;
use crate::paths::existing_file;
use crate::product;

const PHOTOS: usize = 1368;
const QUICK_PHOTOS: usize = 150;

/// Measure indexing: images per second from a folder of photos to searchable.
///
/// Each round starts lookalike with an empty library, moves a folder of photos into it and waits until all of them are
/// indexed. It is compared with the network and the decoder alone, with an older build (--older-program), and with the
/// usual system: a batch script with timm, PyTorch and pymilvus that uses the same Milvus.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  lookalike-loadtest bench ingest --photos ~/Pictures --threads 2
  lookalike-loadtest bench ingest --older-program ~/lookalike-old --quick

Exit codes: 0 measured, 1 failed, 2 wrong usage.")]
pub struct IngestArguments {
    /// An older lookalike program to compare with, each with its default model.
    #[arg(long, value_name = "PATH", value_parser = existing_file())]
    pub older_program: Option<PathBuf>,

    /// Number of photos [default: 1368, or 150 with --quick].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub count: Option<u32>,

    #[command(flatten)]
    pub options: BenchOptions,
}

impl IngestArguments {
    pub fn with_options(options: &BenchOptions) -> Self {
        Self {
            older_program: None,
            count: None,
            options: options.clone(),
        }
    }

    fn photo_count(&self) -> usize {
        let default = if self.options.quick {
            QUICK_PHOTOS
        } else {
            PHOTOS
        };
        self.count.map_or(default, |count| count as usize)
    }

    fn rounds(&self) -> usize {
        if self.options.quick { 1 } else { 3 }
    }
}

struct IngestBench<'a> {
    arguments: &'a IngestArguments,
    program: PathBuf,
    older_program: Option<PathBuf>,
    dir: &'a Path,
    photos: Vec<PhotoFile>,
    stop: &'a AtomicBool,
    report: BenchReport,
    /// Number of instances so far; names their folders.
    instances: usize,
}

/// Measures all rows of indexing. A part that fails becomes a row with the reason.
pub async fn measure_ingest(
    arguments: &IngestArguments,
    dir: &Path,
    stop: &AtomicBool,
) -> anyhow::Result<BenchReport> {
    let options = &arguments.options;
    let painted = dir.join("painted");
    let older_program = arguments.older_program.as_deref();
    let mut bench = IngestBench {
        arguments,
        program: product::find_program(options.program.as_deref())?,
        older_program: older_program
            .map(|older| product::find_program(Some(older)))
            .transpose()?,
        dir,
        photos: provide_photos(options.photos.as_deref(), &painted, arguments.photo_count())?,
        stop,
        report: BenchReport::new("ingest", options.quick),
        instances: 0,
    };
    let note = format!("ingest: {} photos", bench.photos.len());
    bench.report.notes.push(note);
    bench.measure_bottleneck().await?;
    let older = bench.compare_with_older().await;
    bench.push_pairs("ingest.older", older);
    let usual = bench.compare_with_usual().await;
    bench.push_pairs("ingest.usual", usual);
    let mut report = bench.report;
    report.complete_rows(&["ingest"], "the run was interrupted");
    Ok(report)
}

impl IngestBench<'_> {
    fn push_pairs(&mut self, key: &str, measured: anyhow::Result<PairedSamples>) {
        let target = find_target(key);
        self.report.rows.push(match measured {
            Ok(samples) => BenchRow::from_pairs(target, &samples),
            Err(error) => BenchRow::not_measured(target, format!("{error:#}")),
        });
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Starts a new lookalike, indexes the photos, and returns it with the images per second.
    async fn ingest_photos(
        &mut self,
        program: &Path,
        model: Option<OsString>,
    ) -> anyhow::Result<(BenchInstance, f64)> {
        self.instances += 1;
        let name = format!("ingest-{}", self.instances);
        let options = instance_options(program, self.dir, &name, model)?;
        let staged = options.dir.join("staged");
        link_photos(&self.photos, &staged)?;
        let mut instance = BenchInstance::start(&options).await?;
        let files = self.photos.len() as u64;
        let started = Instant::now();
        let watched = instance.library.join("photos");
        std::fs::rename(&staged, &watched).with_context(|| {
            format!("cannot move {} to {}", staged.display(), watched.display())
        })?;
        let stats = instance.wait_until_at_rest(files).await?;
        let rate = files as f64 / started.elapsed().as_secs_f64();
        let failed = stats["failed"].as_u64().unwrap_or(0);
        if failed > 0 {
            let note = format!("{failed} of {files} photos could not be read");
            if !self.report.notes.contains(&note) {
                self.report.notes.push(note);
            }
        }
        Ok((instance, rate))
    }

    /// Measures the default model, and its network and the decoder alone.
    async fn measure_bottleneck(&mut self) -> anyhow::Result<()> {
        let program = self.program.clone();
        let mut rates = Vec::new();
        let mut model = String::new();
        for _ in 0..self.arguments.rounds() {
            if self.is_stopped() {
                return Ok(());
            }
            stdio::eprint_line(&format!(
                "default model: indexing {} photos",
                self.photos.len()
            ));
            let (instance, rate) = self.ingest_photos(&program, None).await?;
            let stats = instance.get_json("/v1/stats", &[]).await?;
            model = stats["model"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            instance.stop().await;
            rates.push(rate);
        }
        let target = find_target("ingest.bottleneck");
        let row = match self.measure_parts(&model).await {
            Err(error) => BenchRow::not_measured(target, format!("{error:#}")),
            Ok((network, decoding)) => {
                let mut samples = PairedSamples::default();
                for rate in &rates {
                    samples.push_round(*rate, network.min(decoding));
                }
                BenchRow::from_pairs(target, &samples).with_note(format!(
                    "{model}: network alone {network:.0} images/s, decoder alone {decoding:.0} images/s"
                ))
            }
        };
        self.report.rows.push(row);
        let median = median_of(rates.clone()).unwrap_or(f64::NAN);
        let name = format!("folder → searchable, {model}");
        self.report
            .rows
            .push(BenchRow::info(name, "images/s", median, rates.len() as u64));
        Ok(())
    }

    /// Returns the images per second of the network and of the decoder alone.
    async fn measure_parts(&self, model: &str) -> anyhow::Result<(f64, f64)> {
        let files = ModelFiles::new(&self.program, self.dir);
        let folder = files.find_fetched(model)?;
        let path = folder.map_or_else(|| model.to_owned(), |folder| folder.display().to_string());
        let time = Duration::from_secs(if self.arguments.options.quick { 1 } else { 5 });
        let network = measure_alone(&path, &self.photos, time).await?;
        let threads = self.arguments.options.thread_count();
        Ok((
            network,
            measure_decoding(&path, &self.photos, threads, time)?,
        ))
    }

    async fn compare_with_older(&mut self) -> anyhow::Result<PairedSamples> {
        let older = self.older_program.clone();
        let older = older.context("choose a build of an earlier version with --older-program")?;
        let program = self.program.clone();
        let mut samples = PairedSamples::default();
        for _ in 0..self.arguments.rounds() {
            if self.is_stopped() {
                break;
            }
            stdio::eprint_line(&format!(
                "this build and an older one: indexing {} photos",
                self.photos.len()
            ));
            let (instance, ours) = self.ingest_photos(&program, None).await?;
            instance.stop().await;
            let (instance, theirs) = self.ingest_photos(&older, None).await?;
            instance.stop().await;
            samples.push_round(ours, theirs);
        }
        Ok(samples)
    }

    async fn compare_with_usual(&mut self) -> anyhow::Result<PairedSamples> {
        let options = &self.arguments.options;
        let environment =
            PeerEnvironment::find(options, &self.dir.join("peers")).map_err(anyhow::Error::msg)?;
        let model = ModelFiles::new(&self.program, self.dir).provide("resnet34", &environment)?;
        self.report.notes.extend(model.note());
        let program = self.program.clone();
        let mut samples = PairedSamples::default();
        for _ in 0..self.arguments.rounds() {
            if self.is_stopped() {
                break;
            }
            stdio::eprint_line(&format!("ResNet-34: indexing {} photos", self.photos.len()));
            let folder = model.folder.clone().into_os_string();
            let (instance, ours) = self.ingest_photos(&program, Some(folder)).await?;
            stdio::eprint_line(&format!(
                "the usual system: indexing {} photos",
                self.photos.len()
            ));
            let usual = UsualSystem {
                environment: environment.clone(),
                milvus_url: instance.milvus_url()?,
                weights: model.folder.clone(),
            };
            let batch = usual.index_folder(&instance.library)?;
            instance.stop().await;
            samples.push_round(ours, batch.images as f64 / batch.seconds);
        }
        Ok(samples)
    }
}

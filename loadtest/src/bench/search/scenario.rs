//! Measures the search rows of the table of targets with a lookalike of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lookalike_chassis::stdio;

use super::arguments::SearchArguments;
use super::arrivals::ArrivalPattern;
use super::drive::{LoadPattern, LoadPlan, LoadResult, run_load, time_uploads};
use super::ingestion::FolderFeed;
use super::mix::SearchMix;
use super::remote::{choose_uploads, mark_of_run, run_while_ingesting};
use super::tables::{latency_figure, load_table};
use super::usual::UsualSystem;
use super::workload::{ConnectionOptions, SearchWorkload};
use crate::bench::instance::{BenchInstance, instance_options};
use crate::bench::models::ModelFiles;
use crate::bench::peers::environment::PeerEnvironment;
use crate::bench::photos::{PhotoFile, link_photos, provide_photos};
use crate::bench::report::{BenchReport, BenchRow};
use crate::bench::samples::{PairedSamples, median_of};
use crate::bench::targets::find_target;
use crate::product;

/// Number of rows in the index, as in the table of targets.
const PHOTOS: usize = 1350;
const QUICK_PHOTOS: usize = 200;

const CLIENTS: usize = 16;

/// Searches per second at rest and while ingesting: well below the throughput.
const OPEN_RATE: f64 = 20.0;

/// Uploads in a block before the other system has its turn.
const BLOCK_UPLOADS: u64 = 20;

struct SearchScenario<'a> {
    arguments: &'a SearchArguments,
    program: PathBuf,
    dir: &'a Path,
    photos: Vec<PhotoFile>,
    stop: &'a AtomicBool,
    report: BenchReport,
    problems: u64,
}

/// Measures all search rows. A part that fails becomes a row with the reason.
pub async fn measure_scenario(
    arguments: &SearchArguments,
    dir: &Path,
    stop: &AtomicBool,
) -> anyhow::Result<(BenchReport, u64)> {
    let options = &arguments.options;
    let count = if options.quick { QUICK_PHOTOS } else { PHOTOS };
    let mut scenario = SearchScenario {
        arguments,
        program: product::find_program(options.program.as_deref())?,
        dir,
        photos: provide_photos(options.photos.as_deref(), &dir.join("painted"), count)?,
        stop,
        report: BenchReport::new("search", options.quick),
        problems: 0,
    };
    scenario.measure_default_model().await?;
    let target = find_target("search.usual");
    let row = match scenario.compare_with_usual().await {
        Ok(samples) => BenchRow::from_pairs(target, &samples),
        Err(error) => BenchRow::not_measured(target, format!("{error:#}")),
    };
    scenario.report.rows.push(row);
    let mut report = scenario.report;
    report.complete_rows(&["search"], "the run was interrupted");
    Ok((report, scenario.problems))
}

impl SearchScenario<'_> {
    fn plan(&self, pattern: LoadPattern) -> LoadPlan {
        LoadPlan {
            pattern,
            mix: SearchMix::UPLOADS,
            warm_up: Duration::from_secs(self.arguments.warm_up),
            duration: self.arguments.duration(),
            seed: 1,
            shows_progress: false,
        }
    }

    async fn connect(&self, url: &str) -> anyhow::Result<SearchWorkload> {
        let options = ConnectionOptions {
            timeout: Duration::from_secs(self.arguments.timeout),
            headers: Vec::new(),
        };
        let limit = usize::from(self.arguments.limit);
        let mut workload = SearchWorkload::connect(url, &options, limit).await?;
        workload.upload_files(&choose_uploads(&self.photos))?;
        Ok(workload)
    }

    /// Starts lookalike with the photos in its library and waits until they are indexed.
    async fn start_indexed(
        &self,
        name: &str,
        model: Option<std::ffi::OsString>,
    ) -> anyhow::Result<BenchInstance> {
        let options = instance_options(&self.program, self.dir, name, model)?;
        link_photos(&self.photos, &options.library().join("photos"))?;
        stdio::eprint_line(&format!("indexing {} photos", self.photos.len()));
        let mut instance = BenchInstance::start(&options).await?;
        instance
            .wait_until_at_rest(self.photos.len() as u64)
            .await?;
        Ok(instance)
    }

    fn note_result(&mut self, title: &str, result: &LoadResult) {
        self.problems += result.record.problem_count();
        for example in &result.record.examples {
            self.report.notes.push(format!("{title}: {example}"));
        }
        self.report.tables.push(load_table(title, result));
    }

    async fn measure_default_model(&mut self) -> anyhow::Result<()> {
        let instance = self.start_indexed("default-model", None).await?;
        let workload = Arc::new(self.connect(&instance.url).await?);
        self.report.notes.push(format!(
            "searches by upload: model {}, {} pictures",
            workload.model,
            workload.image_count()
        ));
        stdio::eprint_line(&format!("{CLIENTS} clients"));
        let closed = self.plan(LoadPattern::Closed { clients: CLIENTS });
        let busy = run_load(&workload, &closed, self.stop).await;
        self.note_result("16 clients", &busy);
        if !self.stop.load(Ordering::Relaxed) {
            let target = find_target("search.clients16");
            let answers = busy.record.total().answered();
            let row = BenchRow::from_value(target, busy.answers_per_second(), answers);
            self.report.rows.push(row);
            self.measure_ingesting(&instance, &workload).await?;
        }
        instance.stop().await;
        Ok(())
    }

    /// Measures the same searches at rest and while pictures are added.
    async fn measure_ingesting(
        &mut self,
        instance: &BenchInstance,
        workload: &Arc<SearchWorkload>,
    ) -> anyhow::Result<()> {
        let plan = self.plan(LoadPattern::Open {
            rate: OPEN_RATE,
            arrivals: ArrivalPattern::Poisson,
            max_in_flight: self.arguments.max_in_flight as usize,
        });
        stdio::eprint_line(&format!("{OPEN_RATE} searches/s at rest"));
        let rest = run_load(workload, &plan, self.stop).await;
        self.note_result("20 searches/s at rest", &rest);
        if self.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        stdio::eprint_line(&format!("{OPEN_RATE} searches/s while pictures are added"));
        let feed = FolderFeed::start(self.photos.clone(), &instance.library, mark_of_run())?;
        let (ingesting, written) = run_while_ingesting(workload, &plan, feed, self.stop).await?;
        self.note_result("20 searches/s while ingesting", &ingesting);
        let p99 = |result: &LoadResult| result.record.total().percentile_ms(99.0);
        let mut samples = PairedSamples::default();
        samples.push_round(p99(&ingesting), p99(&rest));
        let row = BenchRow::from_pairs(find_target("search.ingesting"), &samples);
        self.report.rows.push(row.with_note(format!(
            "{OPEN_RATE} searches/s; {written} pictures were written meanwhile"
        )));
        let curves = vec![
            rest.record.total().to_curve("at rest"),
            ingesting.record.total().to_curve("while ingesting"),
        ];
        let title = "Searches by upload, 20 per second";
        self.report.figures.push(latency_figure(title, curves));
        Ok(())
    }

    /// Alternates blocks of uploads between lookalike and the usual system, with the same weights.
    async fn compare_with_usual(&mut self) -> anyhow::Result<PairedSamples> {
        let environment = PeerEnvironment::find(&self.arguments.options, &self.dir.join("peers"))
            .map_err(anyhow::Error::msg)?;
        let models = ModelFiles::new(&self.program, self.dir);
        let model = models.provide("resnet34", &environment)?;
        self.report.notes.extend(model.note());
        let folder = model.folder.clone().into_os_string();
        let instance = self.start_indexed("resnet34", Some(folder)).await?;
        let usual = UsualSystem {
            environment,
            milvus_url: instance.milvus_url()?,
            weights: model.folder.clone(),
        };
        stdio::eprint_line("indexing the photos with the usual system");
        usual.index_folder(&instance.library)?;
        let (service, url) = usual.start_service(&self.dir.join("usual.log")).await?;
        let mut ours = self.connect(&instance.url).await?;
        if model.is_random {
            ours.forget_hashes();
        }
        let theirs = ours.for_usual_system(&url);
        let mut samples = PairedSamples::default();
        let rounds = if self.arguments.options.quick { 3 } else { 10 };
        let mut latencies = (Vec::new(), Vec::new());
        // The first round warms both up.
        for round in 0..=rounds {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let first = round * BLOCK_UPLOADS;
            let our_times = time_uploads(&ours, first, BLOCK_UPLOADS).await?;
            let their_times = time_uploads(&theirs, first, BLOCK_UPLOADS).await?;
            if round > 0 {
                let medians = median_of(our_times.clone()).zip(median_of(their_times.clone()));
                let (our_median, their_median) = medians.unwrap_or((f64::NAN, f64::NAN));
                samples.push_round(our_median, their_median);
                latencies.0.extend(our_times);
                latencies.1.extend(their_times);
            }
        }
        drop(service);
        instance.stop().await;
        let title = "Searches by upload, one client, ResNet-34";
        let curves = vec![
            latency_curve("lookalike", latencies.0),
            latency_curve("the usual system", latencies.1),
        ];
        self.report.figures.push(latency_figure(title, curves));
        Ok(samples)
    }
}

/// Returns the curve of a few hundred latencies in milliseconds.
fn latency_curve(name: &str, mut latencies: Vec<f64>) -> crate::bench::report::FigureSeries {
    latencies.sort_by(f64::total_cmp);
    let count = latencies.len();
    crate::bench::report::FigureSeries {
        name: name.to_owned(),
        points: (0..count)
            .map(|number| (number as f64 / count as f64 * 100.0, latencies[number]))
            .collect(),
    }
}

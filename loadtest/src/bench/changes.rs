//! `bench changes`: how fast the index follows files that appear, are copied, moved and deleted.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use lookalike_chassis::stdio;

use super::instance::{BenchInstance, InstanceOptions, instance_options};
use super::options::BenchOptions;
use super::photos::{PhotoFile, link_photos, provide_photos, write_variant};
use super::report::{BenchReport, BenchRow, FigureKind, FigureSeries, ReportFigure};
use super::search::remote::mark_of_run;
use super::targets::find_target;
use crate::product;

/// How long one new file may take to be searchable.
const SEARCHABLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long moved files may take to appear under their new paths, after lookalike reports rest.
const EQUAL_TIMEOUT: Duration = Duration::from_secs(60);

/// Measure how the index follows its folder: new files, copies, moves, deletions, restart and rescan.
///
/// Starts its own lookalike with the default model. The full measurement makes 54,000 copies of the photos and a
/// million small files, and needs about 5 GB of disk space.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  lookalike-loadtest bench changes --photos ~/Pictures
  lookalike-loadtest bench changes --quick --dir /dev/shm

Exit codes: 0 measured, 1 failed, 2 wrong usage.")]
pub struct ChangesArguments {
    #[command(flatten)]
    pub options: BenchOptions,
}

/// Numbers of files.
#[derive(Debug, Clone, Copy)]
struct ChangeSizes {
    photos: usize,
    /// Copies of every photo.
    copies: usize,
    /// New files whose latency is measured.
    new_files: usize,
    moved: usize,
    deleted: usize,
    catalogued: usize,
}

const FULL: ChangeSizes = ChangeSizes {
    photos: 1350,
    copies: 40,
    new_files: 200,
    moved: 27_000,
    deleted: 10_800,
    catalogued: 1_000_000,
};

const QUICK: ChangeSizes = ChangeSizes {
    photos: 100,
    copies: 10,
    new_files: 20,
    moved: 500,
    deleted: 200,
    catalogued: 20_000,
};

struct ChangesBench<'a> {
    sizes: ChangeSizes,
    instance_options: InstanceOptions,
    photos: Vec<PhotoFile>,
    stop: &'a AtomicBool,
    is_quick: bool,
    report: BenchReport,
    /// Files in the library.
    files: u64,
}

/// Measures all rows of changes. A part that fails becomes a row with the reason, and ends the run.
pub async fn measure_changes(
    arguments: &ChangesArguments,
    dir: &Path,
    stop: &AtomicBool,
) -> anyhow::Result<BenchReport> {
    let options = &arguments.options;
    let sizes = if options.quick { QUICK } else { FULL };
    let program = product::find_program(options.program.as_deref())?;
    let photos = provide_photos(
        options.photos.as_deref(),
        &dir.join("painted"),
        sizes.photos,
    )?;
    let mut bench = ChangesBench {
        sizes,
        instance_options: instance_options(&program, dir, "changes", None)?,
        photos,
        stop,
        is_quick: options.quick,
        report: BenchReport::new("changes", options.quick),
        files: 0,
    };
    let mut reason = "the run was interrupted".to_owned();
    if let Err(error) = bench.measure_library().await {
        reason = format!("{error:#}");
    }
    let rescan = match bench.is_stopped() {
        true => Err(anyhow::anyhow!("the run was interrupted")),
        false => bench.measure_rescan(&program, dir).await,
    };
    if let Err(error) = rescan {
        let row = BenchRow::not_measured(find_target("changes.rescan"), format!("{error:#}"));
        bench.report.rows.push(row);
    }
    let mut report = bench.report;
    report.complete_rows(&["changes"], &reason);
    Ok(report)
}

impl ChangesBench<'_> {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Adds a row for a number of files. A quick run uses fewer files than the target is about.
    fn push_value(&mut self, key: &str, value: f64, files: u64) {
        let row = BenchRow::from_value(find_target(key), value, files);
        let is_smaller = self.is_quick && !key.starts_with("changes.searchable");
        self.report.rows.push(match is_smaller {
            true => row.as_smaller(format!("with {files} files, because of --quick")),
            false => row,
        });
    }

    async fn measure_library(&mut self) -> anyhow::Result<()> {
        stdio::eprint_line(&format!("indexing {} photos", self.photos.len()));
        link_photos(
            &self.photos,
            &self.instance_options.library().join("photos"),
        )?;
        self.files = self.photos.len() as u64;
        let mut instance = BenchInstance::start(&self.instance_options).await?;
        instance.wait_until_at_rest(self.files).await?;
        self.measure_new_files(&mut instance).await?;
        self.measure_copies(&mut instance).await?;
        self.measure_moves(&mut instance).await?;
        self.measure_deletions(&mut instance).await?;
        instance.stop().await;
        if self.is_stopped() {
            return Ok(());
        }
        stdio::eprint_line(&format!("restarting with {} files", self.files));
        let started = Instant::now();
        let instance = BenchInstance::start(&self.instance_options).await?;
        self.push_value(
            "changes.restart",
            started.elapsed().as_secs_f64(),
            self.files,
        );
        instance.stop().await;
        Ok(())
    }

    /// Adds one new picture after the other and measures when a search can find it.
    async fn measure_new_files(&mut self, instance: &mut BenchInstance) -> anyhow::Result<()> {
        stdio::eprint_line(&format!(
            "adding {} new files, one at a time",
            self.sizes.new_files
        ));
        let folder = instance.library.join("new");
        std::fs::create_dir_all(&folder)?;
        let mark = mark_of_run();
        let mut latencies = Vec::new();
        for number in 0..self.sizes.new_files {
            if self.is_stopped() {
                return Ok(());
            }
            let photo = &self.photos[number % self.photos.len()];
            let name = photo.flat_name(number);
            write_variant(photo, &folder.join(&name), mark, number as u64)?;
            let written = Instant::now();
            instance
                .wait_until_searchable(&format!("new/{name}"), SEARCHABLE_TIMEOUT)
                .await?;
            latencies.push(written.elapsed().as_secs_f64() * 1000.0);
            self.files += 1;
            instance.wait_until_at_rest(self.files).await?;
        }
        latencies.sort_by(f64::total_cmp);
        let count = latencies.len();
        let at = |share: f64| latencies[((count as f64 * share) as usize).min(count - 1)];
        self.push_value("changes.searchable-p50", at(0.5), count as u64);
        self.push_value("changes.searchable-p99", at(0.99), count as u64);
        let place = |number: usize| number as f64 / count as f64 * 100.0;
        self.report.figures.push(ReportFigure {
            title: "New file → searchable, at rest".to_owned(),
            kind: FigureKind::Percentiles,
            x_label: "share of files".to_owned(),
            y_label: "ms".to_owned(),
            series: vec![FigureSeries {
                name: "lookalike".to_owned(),
                points: (0..count)
                    .map(|number| (place(number), latencies[number]))
                    .collect(),
            }],
        });
        Ok(())
    }

    /// Moves a folder of copies into the library: their contents are known.
    async fn measure_copies(&mut self, instance: &mut BenchInstance) -> anyhow::Result<()> {
        let copies = (self.photos.len() * self.sizes.copies) as u64;
        stdio::eprint_line(&format!("adding {copies} copies"));
        let staged = self.instance_options.dir.join("staged");
        for copy in 0..self.sizes.copies {
            if self.is_stopped() {
                return Ok(());
            }
            let folder = staged.join(format!("copy-{copy:03}"));
            std::fs::create_dir_all(&folder)?;
            for (number, photo) in self.photos.iter().enumerate() {
                let to = folder.join(photo.flat_name(number));
                std::fs::copy(&photo.path, &to)
                    .with_context(|| format!("cannot copy to {}", to.display()))?;
            }
        }
        let started = Instant::now();
        std::fs::rename(&staged, instance.library.join("copies"))?;
        self.files += copies;
        instance.wait_until_at_rest(self.files).await?;
        let rate = copies as f64 / started.elapsed().as_secs_f64();
        self.push_value("changes.copies", rate, copies);
        Ok(())
    }

    /// Moves files between folders, and waits until their rows have the new paths.
    async fn measure_moves(&mut self, instance: &mut BenchInstance) -> anyhow::Result<()> {
        if self.is_stopped() {
            return Ok(());
        }
        let moved = self.choose_copies(self.sizes.moved);
        stdio::eprint_line(&format!("moving {} files", moved.len()));
        let folder = instance.library.join("moved");
        std::fs::create_dir_all(&folder)?;
        let started = Instant::now();
        for (number, path) in moved.iter().enumerate() {
            let extension = path.extension().unwrap_or_default().to_string_lossy();
            let to = folder.join(format!("{number:07}.{extension}"));
            std::fs::rename(path, &to).with_context(|| path.display().to_string())?;
        }
        wait_for_rows_below(instance, "moved/", moved.len(), self.files).await?;
        self.push_value(
            "changes.moves",
            started.elapsed().as_secs_f64(),
            moved.len() as u64,
        );
        Ok(())
    }

    async fn measure_deletions(&mut self, instance: &mut BenchInstance) -> anyhow::Result<()> {
        if self.is_stopped() {
            return Ok(());
        }
        let deleted = self.choose_copies(self.sizes.deleted);
        stdio::eprint_line(&format!("deleting {} files", deleted.len()));
        let started = Instant::now();
        for path in &deleted {
            std::fs::remove_file(path).with_context(|| path.display().to_string())?;
        }
        self.files -= deleted.len() as u64;
        instance.wait_until_at_rest(self.files).await?;
        self.push_value(
            "changes.deletes",
            started.elapsed().as_secs_f64(),
            deleted.len() as u64,
        );
        Ok(())
    }

    /// Returns up to `count` files of the copies that are still in their first folder.
    fn choose_copies(&self, count: usize) -> Vec<PathBuf> {
        let copies = self.instance_options.library().join("copies");
        let mut chosen = Vec::new();
        for copy in 0..self.sizes.copies {
            let folder = copies.join(format!("copy-{copy:03}"));
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            chosen.extend(entries.map(|entry| entry.path()).take(count - chosen.len()));
        }
        chosen
    }

    /// Lets a watcher compare many files that it knows with the disk. They are no pictures, so that
    /// nothing but the watcher works.
    async fn measure_rescan(&mut self, program: &Path, dir: &Path) -> anyhow::Result<()> {
        const FILES_PER_FOLDER: usize = 1000;
        let count = self.sizes.catalogued;
        stdio::eprint_line(&format!("writing {count} small files"));
        let options = instance_options(program, dir, "rescan", None)?;
        for number in 0..count {
            let folder = options
                .library()
                .join(format!("{:04}", number / FILES_PER_FOLDER));
            if number % FILES_PER_FOLDER == 0 {
                std::fs::create_dir_all(&folder)?;
            }
            let path = folder.join(format!("{number:07}.txt"));
            std::fs::write(&path, b"x").with_context(|| path.display().to_string())?;
        }
        stdio::eprint_line("waiting for the first scan");
        let mut instance = BenchInstance::start(&options).await?;
        instance.wait_until_at_rest(count as u64).await?;
        let mut seconds = Vec::new();
        for _ in 0..3 {
            let started = Instant::now();
            instance.request_scan().await?;
            wait_for_scanning(&mut instance, true, SCAN_REPORT_TIMEOUT)
                .await
                .context(
                    "the scan ended before the service reported it; measure without --quick",
                )?;
            wait_for_scanning(&mut instance, false, SCAN_TIMEOUT).await?;
            seconds.push(started.elapsed().as_secs_f64());
        }
        instance.stop().await;
        let median = super::samples::median_of(seconds).unwrap_or(f64::NAN);
        self.push_value("changes.rescan", median, count as u64);
        Ok(())
    }
}

/// How long a rescan may take.
const SCAN_TIMEOUT: Duration = Duration::from_secs(300);

/// How long the service may take to report that a scan has started.
const SCAN_REPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// Waits until the service reports that the library is being scanned, or no longer is.
async fn wait_for_scanning(
    instance: &mut BenchInstance,
    expected: bool,
    timeout: Duration,
) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        instance.ensure_running()?;
        let stats = instance.get_json("/v1/stats", &[]).await?;
        if stats["libraries"][0]["scanning"] == expected {
            return Ok(());
        }
        anyhow::ensure!(
            started.elapsed() < timeout,
            "the library was not reported with scanning = {expected} within {} s",
            timeout.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until lookalike is at rest and its rows below a folder are as many as the files there.
async fn wait_for_rows_below(
    instance: &mut BenchInstance,
    folder: &str,
    rows: usize,
    files: u64,
) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        instance.wait_until_at_rest(files).await?;
        let found = count_rows_below(instance, folder).await?;
        if found == rows {
            return Ok(());
        }
        anyhow::ensure!(
            started.elapsed() < EQUAL_TIMEOUT + Duration::from_secs(rows as u64 / 100),
            "{found} of {rows} moved files have their new path"
        );
    }
}

/// Returns the number of rows whose files are in a folder of the library, which ends with `/`.
async fn count_rows_below(instance: &BenchInstance, folder: &str) -> anyhow::Result<usize> {
    let query = [("fields", "folder"), ("limit", "1000")];
    let counts = instance.get_json("/v1/facets", &query).await?;
    let values = counts["facets"]["folder"]["values"].as_array();
    let row = values
        .into_iter()
        .flatten()
        .find(|row| row["value"] == folder);
    Ok(row.and_then(|row| row["count"].as_u64()).unwrap_or(0) as usize)
}

//! One measurement, from the folder to the report.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lookalike_chassis::stdio;
use lookalike_sheet::Thumbnails;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use super::altered::{Alteration, PhotoPixels};
use super::arguments::QualityArguments;
use super::calibration::{Calibration, JudgedNeighbour};
use super::photos::{ClassFolders, MAX_PHOTOS, Photos};
use super::report::{ClassScore, QualityReport, Robustness, count_bands};
use super::score::{average_precision, mean_of, precision_at};
use super::service::{NeighbourHit, QualityClient};
use super::sheet::{self, ContactSheet, ScoredQuery};
use super::sparse::{self, JudgedPicture, PlainCopy, SparsePicture, SparseScore};
use crate::product::rest;
use crate::product::up::UpProcess;
use lookalike_painter::paint::Random;

/// Name of the library.
const LIBRARY: &str = "photos";

/// Limit of hits per request of the service.
const MAX_DEPTH: usize = 1000;

/// Longer side of the photos that copies are made from: the largest thumbnail.
const COPY_SIDE_PIXELS: u32 = 1024;

const MAX_CONCURRENT_QUERIES: usize = 4;

/// How often the counts are read.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// After this time without work in flight, files that were not seen are assumed to be excluded by ignore
/// rules.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long indexing may make no progress.
const STALL_TIMEOUT: Duration = Duration::from_secs(300);

pub(super) async fn run(
    arguments: &QualityArguments,
    program: &Path,
) -> anyhow::Result<QualityReport> {
    let folder = &arguments.photos;
    let folder = folder
        .canonicalize()
        .with_context(|| folder.display().to_string())?;
    let on_disk = ClassFolders::count_files(&folder)?;
    anyhow::ensure!(
        on_disk.files <= MAX_PHOTOS as u64,
        "{} files are in {}; at most {MAX_PHOTOS} can be measured",
        on_disk.files,
        folder.display()
    );
    let base = arguments.dir.clone().unwrap_or_else(std::env::temp_dir);
    let base = base
        .canonicalize()
        .with_context(|| base.display().to_string())?;
    let dir = base.join(format!("lookalike-quality-{}", std::process::id()));
    anyhow::ensure!(
        !dir.starts_with(&folder),
        "{} is inside the measured folder; choose another one with --dir",
        dir.display()
    );
    std::fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let outcome = tokio::select! {
        done = measure_in_dir(arguments, program, &folder, &on_disk, &dir) => done.map(Some),
        _ = tokio::signal::ctrl_c() => Ok(None),
        _ = terminated.recv() => Ok(None),
    };
    // After a failure the folder is kept, because its logs contain the reason.
    let is_kept = arguments.keep || outcome.is_err();
    if !is_kept {
        let _ = std::fs::remove_dir_all(&dir);
    } else if outcome.is_err() {
        stdio::eprint_line(&format!("kept folder: {}", dir.display()));
    }
    let mut report = outcome?.context("stopped early")?;
    report.kept = is_kept.then_some(dir);
    Ok(report)
}

async fn measure_in_dir(
    arguments: &QualityArguments,
    program: &Path,
    folder: &Path,
    on_disk: &ClassFolders,
    dir: &Path,
) -> anyhow::Result<QualityReport> {
    let classes = on_disk.by_class.len();
    stdio::eprint_line(&format!(
        "{} files in {classes} class folders; starting lookalike",
        on_disk.files
    ));
    let started = Instant::now();
    let (mut up, service) = start_up(arguments, program, folder, dir).await?;
    let measurement = async {
        let stats = wait_until_indexed(&mut up, &service, on_disk.files).await?;
        let mut report = report_from_stats(&stats, folder);
        report.indexing_seconds = started.elapsed().as_secs_f64();
        let indexed = stats["indexed"].as_u64().unwrap_or_default();
        measure_indexed(arguments, &service, indexed, &mut report).await?;
        anyhow::Ok(report)
    };
    let measured = measurement.await;
    if measured.is_err() {
        // If the process has exited, its log says more than the failed request.
        up.ensure_running()?;
    }
    up.stop().await;
    let mut report = measured?;
    if arguments.sparse > 0 {
        report.sparse = measure_sparse(arguments, program, &dir.join("sparse")).await?;
    }
    Ok(report)
}

/// Starts lookalike with one library; its data and its log are in `dir`.
async fn start_up(
    arguments: &QualityArguments,
    program: &Path,
    folder: &Path,
    dir: &Path,
) -> anyhow::Result<(UpProcess, QualityClient)> {
    let mut library = OsString::from(format!("{LIBRARY}="));
    library.push(folder);
    let mut up_arguments = vec![library];
    if let Some(model) = &arguments.model {
        // A relative path is relative to this program's folder, and the child runs in another one.
        let model_folder = Path::new(model).canonicalize();
        let model = model_folder.map_or_else(|_| model.into(), PathBuf::into_os_string);
        up_arguments.extend(["--model".into(), model]);
    }
    let (data_dir, log) = (dir.join("data"), dir.join("up.log"));
    let up = UpProcess::start(program, &up_arguments, dir, &data_dir, &log).await?;
    let service = QualityClient::new(up.address_of("url")?)?;
    Ok((up, service))
}

/// Paints pictures with little in them, and counts the pairs and copies that lookalike takes for one picture. They
/// have an index of their own, so that they are no neighbours of the photos.
async fn measure_sparse(
    arguments: &QualityArguments,
    program: &Path,
    dir: &Path,
) -> anyhow::Result<Vec<SparseScore>> {
    let folder = dir.join("pictures");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let painted = SparsePicture::paint_all(&folder, arguments.sparse, arguments.seed)?;
    stdio::eprint_line(&format!(
        "painted {} pictures with little in them",
        painted.len()
    ));
    let (mut up, service) = start_up(arguments, program, &folder, dir).await?;
    let measurement = async {
        let files = painted.len() as u64;
        wait_until_indexed(&mut up, &service, files).await?;
        let images = wait_for_images(&service, files).await?;
        let judged = ask_each("pictures with little in them", images, |[id, path, _]| {
            let service = service.clone();
            let file = folder.join(&path);
            async move {
                let jpeg = std::fs::read(&file).with_context(|| file.display().to_string())?;
                let pixels = PhotoPixels::decode_jpeg(&jpeg)?;
                let mut found_by_copies = [false; PlainCopy::ALL.len()];
                for (found, copy) in found_by_copies.iter_mut().zip(PlainCopy::ALL) {
                    let hits = service.search_by_picture(copy.make(&pixels)?, MAX_DEPTH);
                    let is_found = |hit: &NeighbourHit| {
                        hit.id == id && hit.band.as_deref() == Some("same_picture")
                    };
                    *found = hits.await?.iter().any(is_found);
                }
                Ok(JudgedPicture {
                    neighbours: service.find_neighbours(&id, MAX_DEPTH).await?,
                    id,
                    path,
                    found_by_copies,
                })
            }
        });
        anyhow::Ok(sparse::score_pairs(&judged.await?))
    };
    let measured = measurement.await;
    if measured.is_err() {
        up.ensure_running()?;
    }
    up.stop().await;
    measured
}

/// Waits until no file is in flight and returns the counts.
async fn wait_until_indexed(
    up: &mut UpProcess,
    service: &QualityClient,
    files: u64,
) -> anyhow::Result<Value> {
    let (mut last_shown, mut last_change) = (Instant::now(), Instant::now());
    let mut processed = 0;
    loop {
        up.ensure_running()?;
        let stats = service.get_json("/v1/stats", &[]).await?;
        let Err(why) = rest::check_at_rest(&stats, 1, files) else {
            return Ok(stats);
        };
        let count = |key: &str| stats[key].as_u64().unwrap_or(0);
        let now = count("indexed") + count("failed") + count("ignored");
        if now != processed {
            (processed, last_change) = (now, Instant::now());
        }
        let seen = count("on_disk");
        if seen > 0
            && last_change.elapsed() >= SETTLE_TIMEOUT
            && rest::check_at_rest(&stats, 1, seen).is_ok()
        {
            stdio::eprint_line(&format!("{why}; the others are excluded by ignore rules"));
            return Ok(stats);
        }
        anyhow::ensure!(
            last_change.elapsed() < STALL_TIMEOUT,
            "nothing was indexed for {} s; {why}",
            STALL_TIMEOUT.as_secs()
        );
        if last_shown.elapsed() >= PROGRESS_INTERVAL {
            last_shown = Instant::now();
            stdio::eprint_line(&format!("indexing: {processed} of {files}; {why}"));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn report_from_stats(stats: &Value, folder: &Path) -> QualityReport {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let count = |value: &Value| value.as_u64().unwrap_or_default();
    let model = text(&stats["model"]["name"]);
    let dimension = count(&stats["model"]["dimension"]);
    let device = text(&stats["device"]);
    // The description begins with the model, which the report shows already.
    let prefix = format!("{model} ({dimension} numbers) on ");
    let device = device.strip_prefix(&prefix).unwrap_or(&device).to_owned();
    QualityReport {
        model,
        dimension,
        device,
        folder: folder.to_owned(),
        unreadable: count(&stats["failed"]),
        ignored: count(&stats["ignored"]),
        ..QualityReport::default()
    }
}

/// Returns every picture in the index. Repeats the request, because recent writes may not be readable yet.
async fn wait_for_images(
    service: &QualityClient,
    indexed: u64,
) -> anyhow::Result<Vec<[String; 3]>> {
    let started = Instant::now();
    loop {
        let images = service.list_images(MAX_PHOTOS).await?;
        if images.len() as u64 >= indexed || started.elapsed() >= SETTLE_TIMEOUT {
            return Ok(images);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

async fn measure_indexed(
    arguments: &QualityArguments,
    service: &QualityClient,
    indexed: u64,
    report: &mut QualityReport,
) -> anyhow::Result<()> {
    let photos = Arc::new(Photos::new(wait_for_images(service, indexed).await?));
    stdio::eprint_line(&format!("{} pictures are in the index", photos.all.len()));
    anyhow::ensure!(
        photos.classes.len() >= 2,
        "{} of {} files could not be read, and fewer than two classes remain",
        report.unreadable,
        photos.all.len() as u64 + report.unreadable + report.ignored
    );
    report.photos = photos.all.len();
    report.k = arguments.k as usize;
    report.depth = (photos.all.len() - 1).min(MAX_DEPTH);
    let class_of = |photo: &usize| photos.all[*photo].class;
    let (classed, unclassed): (Vec<usize>, Vec<usize>) =
        (0..photos.all.len()).partition(|photo| class_of(photo).is_some());
    let (queries, alone): (Vec<usize>, Vec<usize>) = classed
        .into_iter()
        .partition(|photo| class_of(photo).is_some_and(|class| photos.class_sizes[class] > 1));
    (report.unclassed, report.alone_in_class) = (unclassed.len(), alone.len());

    let (k, depth) = (report.k, report.depth);
    let queries = ask_each("neighbours", queries, |photo| {
        let (service, photos) = (service.clone(), Arc::clone(&photos));
        async move {
            let limit = depth.max(k);
            let hits = service
                .find_neighbours(&photos.all[photo].id, limit)
                .await?;
            Ok(score_query(&photos, photo, &hits, k, depth))
        }
    })
    .await?;
    summarise_scores(report, &photos, &queries);
    if arguments.robustness > 0 {
        report.robustness = measure_robustness(arguments, service, &photos).await?;
    }
    if let Some(file) = &arguments.html {
        let chosen = sheet::choose_sections(report, &photos, &queries);
        let shown = sheet::shown_photos(&chosen);
        let thumbnails = ask_each("thumbnails", shown, |photo| {
            let (service, photos) = (service.clone(), Arc::clone(&photos));
            async move {
                let id = &photos.all[photo].id;
                let side = sheet::THUMBNAIL_SIDE_PIXELS;
                Ok((photo, Some(service.fetch_thumbnail(id, side).await?)))
            }
        });
        let sheet = ContactSheet {
            report,
            photos: &photos,
            sections: chosen,
            thumbnails: Thumbnails::new(thumbnails.await?),
        };
        std::fs::write(file, sheet.to_html()).with_context(|| file.display().to_string())?;
        stdio::eprint_line(&format!("wrote the contact sheet to {}", file.display()));
    }
    Ok(())
}

/// Sends one request per item, a few at a time, and returns the answers in the order of the items.
async fn ask_each<T, R, F>(
    question: &str,
    items: Vec<T>,
    ask: impl Fn(T) -> F,
) -> anyhow::Result<Vec<R>>
where
    R: Send + 'static,
    F: Future<Output = anyhow::Result<R>> + Send + 'static,
{
    let total = items.len();
    let mut items = items.into_iter().enumerate();
    let mut answers: Vec<Option<R>> = (0..total).map(|_| None).collect();
    let mut tasks = JoinSet::new();
    let mut last_shown = Instant::now();
    let mut done = 0;
    loop {
        while tasks.len() < MAX_CONCURRENT_QUERIES
            && let Some((number, item)) = items.next()
        {
            let asking = ask(item);
            tasks.spawn(async move { (number, asking.await) });
        }
        let Some(answered) = tasks.join_next().await else {
            break;
        };
        let (number, answer) = answered.with_context(|| question.to_owned())?;
        answers[number] = Some(answer.with_context(|| question.to_owned())?);
        done += 1;
        if last_shown.elapsed() >= PROGRESS_INTERVAL {
            last_shown = Instant::now();
            stdio::eprint_line(&format!("{question}: {done} of {total}"));
        }
    }
    Ok(answers.into_iter().flatten().collect())
}

/// Scores one picture by its neighbours.
fn score_query(
    photos: &Photos,
    photo: usize,
    hits: &[NeighbourHit],
    k: usize,
    depth: usize,
) -> ScoredQuery {
    let class = photos.all[photo].class;
    let neighbours: Vec<Option<usize>> =
        hits.iter().map(|hit| photos.find_by_id(&hit.id)).collect();
    let is_right =
        |neighbour: &Option<usize>| neighbour.is_some_and(|photo| photos.all[photo].class == class);
    let right: Vec<bool> = neighbours.iter().map(is_right).collect();
    let others = class.map_or(0, |class| photos.class_sizes[class] - 1);
    let near = neighbours.iter().zip(hits).take(k);
    let judged = right.iter().zip(hits).take(k);
    ScoredQuery {
        photo,
        precision: precision_at(&right, k, others).unwrap_or_default(),
        average_precision: average_precision(&right, depth, others).unwrap_or_default(),
        near: near
            .filter_map(|(photo, hit)| Some(((*photo)?, hit.score)))
            .collect(),
        judged: judged
            .map(|(is_right, hit)| JudgedNeighbour {
                score: hit.score,
                is_right: *is_right,
                band: hit.band.clone(),
            })
            .collect(),
    }
}

/// Stores the means over all pictures and over those of each class in the report.
fn summarise_scores(report: &mut QualityReport, photos: &Photos, queries: &[ScoredQuery]) {
    report.precision = mean_of(queries.iter().map(|query| query.precision));
    report.average_precision = mean_of(queries.iter().map(|query| query.average_precision));
    report.calibration = Calibration::from_judged(queries.iter().flat_map(|query| &query.judged));
    let mut by_class: Vec<Vec<&ScoredQuery>> = vec![Vec::new(); photos.classes.len()];
    for query in queries {
        if let Some(class) = photos.all[query.photo].class {
            by_class[class].push(query);
        }
    }
    let names = photos.classes.iter().zip(&photos.class_sizes);
    let classes = names.zip(by_class).map(|((name, size), queries)| {
        let class_mean = |value: fn(&ScoredQuery) -> f64| {
            (!queries.is_empty()).then(|| mean_of(queries.iter().map(|query| value(query))))
        };
        ClassScore {
            name: name.clone(),
            photos: *size,
            precision: class_mean(|query| query.precision),
            average_precision: class_mean(|query| query.average_precision),
        }
    });
    report.classes = classes.collect();
    let key = |class: &ClassScore| class.precision.unwrap_or(-1.0);
    // The sort is stable: classes of equal precision stay sorted by name.
    report.classes.sort_by(|a, b| key(b).total_cmp(&key(a)));
}

/// Alters some photos and searches for them.
async fn measure_robustness(
    arguments: &QualityArguments,
    service: &QualityClient,
    photos: &Arc<Photos>,
) -> anyhow::Result<Vec<Robustness>> {
    let chosen = draw_numbers(
        photos.all.len(),
        arguments.robustness as usize,
        arguments.seed,
    );
    let (seed, k) = (arguments.seed, arguments.k as usize);
    let found = ask_each("altered copies", chosen, |photo| {
        let (service, photos) = (service.clone(), Arc::clone(photos));
        async move {
            let original = &photos.all[photo];
            let jpeg = service
                .fetch_thumbnail(&original.id, COPY_SIDE_PIXELS)
                .await?;
            let pixels = PhotoPixels::decode_jpeg(&jpeg).with_context(|| original.path.clone())?;
            let mut random = Random::new(seed, 1000 + photo as u64);
            let mut found = Vec::with_capacity(Alteration::ALL.len());
            for change in Alteration::ALL {
                let copy = change.apply_to(&pixels, &mut random)?;
                let hits = service.search_by_picture(copy, k).await?;
                // Another file with the same bytes counts too.
                let is_photo =
                    |(_, hit): &(usize, NeighbourHit)| hit.content_hash == original.content_hash;
                found.push(hits.into_iter().enumerate().find(is_photo));
            }
            Ok(found)
        }
    })
    .await?;
    let row = |(number, change): (usize, Alteration)| {
        let of_change = || found.iter().map(|found| found[number].as_ref());
        let share = |is_found: fn(usize) -> bool| {
            let ranks = of_change().map(|hit| hit.map(|(rank, _)| *rank));
            mean_of(ranks.map(|rank| f64::from(u8::from(rank.is_some_and(is_found)))))
        };
        Robustness {
            change,
            photos: found.len(),
            first: share(|rank| rank == 0),
            near: share(|_| true),
            bands: count_bands(of_change().filter_map(|hit| hit?.1.band.clone())),
        }
    };
    Ok(Alteration::ALL.into_iter().enumerate().map(row).collect())
}

/// Draws up to `count` different numbers below `total`, sorted.
fn draw_numbers(total: usize, count: usize, seed: u64) -> Vec<usize> {
    let mut random = Random::new(seed, 11);
    let mut keyed: Vec<(u64, usize)> = (0..total)
        .map(|number| (random.next_u64(), number))
        .collect();
    keyed.sort_unstable();
    let mut drawn: Vec<usize> = keyed.into_iter().map(|(_, number)| number).collect();
    drawn.truncate(count);
    drawn.sort_unstable();
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    fn photos_at(paths: &[&str]) -> Photos {
        let row = |path: &&str| [(*path).to_owned(), (*path).to_owned(), String::new()];
        Photos::new(paths.iter().map(row).collect())
    }

    fn hits_for(ids: &[&str]) -> Vec<NeighbourHit> {
        let hit = |id: &&str| NeighbourHit {
            id: (*id).to_owned(),
            content_hash: String::new(),
            score: 0.5,
            band: None,
        };
        ids.iter().map(hit).collect()
    }

    #[test]
    fn neighbours_are_scored_by_their_class() {
        let photos = photos_at(&["a/1", "a/2", "a/3", "b/1", "b/2", "top"]);
        let near = hits_for(&["b/1", "a/2", "unknown", "a/3", "top"]);
        let query = score_query(&photos, 0, &near, 2, 5);
        assert_eq!(query.precision, 0.5);
        assert_eq!(query.average_precision, (1.0 / 2.0 + 2.0 / 4.0) / 2.0);
        assert_eq!(query.near, [(3, 0.5), (1, 0.5)]);
        let right: Vec<bool> = query
            .judged
            .iter()
            .map(|neighbour| neighbour.is_right)
            .collect();
        assert_eq!(right, [false, true]);

        let other = score_query(&photos, 3, &hits_for(&["b/2", "a/1"]), 2, 5);
        assert_eq!(other.precision, 1.0);
        let mut report = QualityReport::default();
        summarise_scores(&mut report, &photos, &[query, other]);
        assert_eq!(report.precision, 0.75);
        let order: Vec<_> = report.classes.iter().map(|class| &class.name[..]).collect();
        assert_eq!(order, ["b", "a"], "best first");
        assert_eq!(report.classes[0].average_precision, Some(1.0));
    }

    #[test]
    fn draws_are_even_and_the_same_for_the_same_seed() {
        let drawn = draw_numbers(100, 10, 1);
        assert_eq!(drawn, draw_numbers(100, 10, 1));
        assert_ne!(drawn, draw_numbers(100, 10, 2));
        assert_eq!(drawn.len(), 10);
        assert!(drawn.windows(2).all(|two| two[0] < two[1]), "{drawn:?}");
        assert_eq!(draw_numbers(3, 10, 1), [0, 1, 2]);
    }

    #[tokio::test]
    async fn answers_come_in_order_and_an_error_ends_it() {
        let doubled = ask_each("numbers", (0..20).collect(), |number: u64| async move {
            tokio::task::yield_now().await;
            Ok(number * 2)
        });
        let expected: Vec<u64> = (0..20).map(|number| number * 2).collect();
        assert_eq!(doubled.await.unwrap(), expected);
        let failed = ask_each("numbers", vec![1, 2], |number: u64| async move {
            anyhow::ensure!(number < 2, "too large");
            Ok(())
        });
        let error = format!("{:#}", failed.await.unwrap_err());
        assert_eq!(error, "numbers: too large");
    }
}

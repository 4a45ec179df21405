//! One measurement from the folder to the report.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use super::Arguments;
use super::altered::{Change, Pixels};
use super::calibration::{Calibration, Judged};
use super::photos::{OnDisk, PHOTOS_MAX, Photos};
use super::report::{Class, Report, Robustness};
use super::score::{average_precision, mean, precision};
use super::service::{Hit, Service};
use super::sheet::{self, Query, Sheet};
use crate::paint::Random;
use crate::product::rest;
use crate::product::up::Up;

/// What pictures are called together.
const LIBRARY: &str = "photos";

/// Most neighbours that the service gives at once.
const DEPTH_MAX: usize = 1000;

/// The longer side of the photos that copies are made of: the largest thumbnail.
const COPY_SIDE: u32 = 1024;

/// How many questions are asked at once.
const AT_ONCE: usize = 4;

/// How often the counts are looked at.
const TICK: Duration = Duration::from_millis(250);

/// How often progress is shown.
const PROGRESS_PAUSE: Duration = Duration::from_secs(5);

/// Once nothing is under way for so long, files that were not seen are left out by ignore rules.
const SETTLED: Duration = Duration::from_secs(10);

/// How long indexing may stand still.
const STALL_PATIENCE: Duration = Duration::from_secs(300);

/// Measures.
pub(super) async fn run(arguments: &Arguments, program: &Path) -> anyhow::Result<Report> {
    let folder = &arguments.photos;
    let folder = folder
        .canonicalize()
        .with_context(|| folder.display().to_string())?;
    let on_disk = OnDisk::read(&folder)?;
    anyhow::ensure!(
        on_disk.files <= PHOTOS_MAX as u64,
        "{} files lie in {}: at most {PHOTOS_MAX} can be measured",
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
        "{} lies in the folder that is measured: name another one with --dir",
        dir.display()
    );
    std::fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let done = tokio::select! {
        done = within(arguments, program, &folder, &on_disk, &dir) => done.map(Some),
        _ = tokio::signal::ctrl_c() => Ok(None),
        _ = terminated.recv() => Ok(None),
    };
    // A folder that could tell why it failed stays.
    let is_kept = arguments.keep || done.is_err();
    if !is_kept {
        let _ = std::fs::remove_dir_all(&dir);
    } else if done.is_err() {
        eprintln!("its folder is kept: {}", dir.display());
    }
    let mut report = done?.context("stopped before its end")?;
    report.kept = is_kept.then_some(dir);
    Ok(report)
}

async fn within(
    arguments: &Arguments,
    program: &Path,
    folder: &Path,
    on_disk: &OnDisk,
    dir: &Path,
) -> anyhow::Result<Report> {
    let classes = on_disk.by_class.len();
    eprintln!(
        "{} files in {classes} class folders; starting lookalike",
        on_disk.files
    );
    let begun = Instant::now();
    let mut library = OsString::from(format!("{LIBRARY}="));
    library.push(folder);
    let mut up_arguments = vec![library];
    if let Some(model) = &arguments.model {
        // A folder is looked for from here, not from where the program will run.
        let model_folder = Path::new(model).canonicalize();
        let model = model_folder.map_or_else(|_| model.into(), PathBuf::into_os_string);
        up_arguments.extend(["--model".into(), model]);
    }
    let (data_dir, log) = (dir.join("data"), dir.join("up.log"));
    let mut up = Up::start(program, &up_arguments, dir, &data_dir, &log).await?;
    let service = Service::new(up.address("url")?)?;
    let measured = async {
        let stats = wait_until_indexed(&mut up, &service, on_disk.files).await?;
        let mut report = describe(&stats, folder);
        report.indexing_seconds = begun.elapsed().as_secs_f64();
        let indexed = stats["indexed"].as_u64().unwrap_or_default();
        measure(arguments, &service, indexed, &mut report).await?;
        anyhow::Ok(report)
    };
    let measured = measured.await;
    if measured.is_err() {
        // That it ended says more than that it does not answer.
        up.check()?;
    }
    up.stop().await;
    measured
}

/// Waits until every file has become something, and gives the counts.
async fn wait_until_indexed(up: &mut Up, service: &Service, files: u64) -> anyhow::Result<Value> {
    let (mut shown, mut moved) = (Instant::now(), Instant::now());
    let mut settled = 0;
    loop {
        up.check()?;
        let stats = service.get("/v1/stats", &[]).await?;
        let Err(why) = rest::at_rest(&stats, 1, files) else {
            return Ok(stats);
        };
        let count = |key: &str| stats[key].as_u64().unwrap_or(0);
        let now = count("indexed") + count("failed") + count("ignored");
        if now != settled {
            (settled, moved) = (now, Instant::now());
        }
        let seen = count("on_disk");
        if seen > 0 && moved.elapsed() >= SETTLED && rest::at_rest(&stats, 1, seen).is_ok() {
            eprintln!("{why}; the others are left out");
            return Ok(stats);
        }
        anyhow::ensure!(
            moved.elapsed() < STALL_PATIENCE,
            "nothing was indexed for {} s; {why}",
            STALL_PATIENCE.as_secs()
        );
        if shown.elapsed() >= PROGRESS_PAUSE {
            shown = Instant::now();
            eprintln!("indexing: {settled} of {files}; {why}");
        }
        tokio::time::sleep(TICK).await;
    }
}

fn describe(stats: &Value, folder: &Path) -> Report {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let count = |value: &Value| value.as_u64().unwrap_or_default();
    let model = text(&stats["model"]["name"]);
    let dimension = count(&stats["model"]["dimension"]);
    let device = text(&stats["device"]);
    // It names the model again.
    let again = format!("{model} ({dimension} numbers) on ");
    let device = device.strip_prefix(&again).unwrap_or(&device).to_owned();
    Report {
        model,
        dimension,
        device,
        folder: folder.to_owned(),
        unreadable: count(&stats["failed"]),
        ignored: count(&stats["ignored"]),
        ..Report::default()
    }
}

/// Every picture of the index. What was written a moment ago may not be readable yet.
async fn all_images(service: &Service, indexed: u64) -> anyhow::Result<Vec<[String; 3]>> {
    let begun = Instant::now();
    loop {
        let images = service.images(PHOTOS_MAX).await?;
        if images.len() as u64 >= indexed || begun.elapsed() >= SETTLED {
            return Ok(images);
        }
        tokio::time::sleep(TICK).await;
    }
}

async fn measure(
    arguments: &Arguments,
    service: &Service,
    indexed: u64,
    report: &mut Report,
) -> anyhow::Result<()> {
    let photos = Arc::new(Photos::new(all_images(service, indexed).await?));
    eprintln!("{} pictures are in the index", photos.all.len());
    anyhow::ensure!(
        photos.classes.len() >= 2,
        "of {} files {} could not be read, and no two classes are left",
        photos.all.len() as u64 + report.unreadable + report.ignored,
        report.unreadable
    );
    report.photos = photos.all.len();
    report.k = arguments.k as usize;
    report.depth = (photos.all.len() - 1).min(DEPTH_MAX);
    let class_of = |photo: &usize| photos.all[*photo].class;
    let (classed, unclassed): (Vec<usize>, Vec<usize>) =
        (0..photos.all.len()).partition(|photo| class_of(photo).is_some());
    let (queries, alone): (Vec<usize>, Vec<usize>) = classed
        .into_iter()
        .partition(|photo| class_of(photo).is_some_and(|class| photos.class_sizes[class] > 1));
    (report.unclassed, report.alone) = (unclassed.len(), alone.len());

    let (k, depth) = (report.k, report.depth);
    let queries = each("neighbours", queries, |photo| {
        let (service, photos) = (service.clone(), Arc::clone(&photos));
        async move {
            let limit = depth.max(k);
            let hits = service.neighbours(&photos.all[photo].id, limit).await?;
            Ok(score(&photos, photo, &hits, k, depth))
        }
    })
    .await?;
    summarise(report, &photos, &queries);
    if arguments.robustness > 0 {
        report.robustness = robustness(arguments, service, &photos).await?;
    }
    if let Some(file) = &arguments.html {
        let chosen = sheet::choose(report, &photos, &queries);
        let shown = sheet::shown(&chosen);
        let thumbnails = each("thumbnails", shown, |photo| {
            let (service, photos) = (service.clone(), Arc::clone(&photos));
            async move {
                let id = &photos.all[photo].id;
                Ok((photo, service.thumbnail(id, sheet::SIDE).await?))
            }
        });
        let sheet = Sheet {
            report,
            photos: &photos,
            sections: chosen,
            thumbnails: thumbnails.await?.into_iter().collect(),
        };
        std::fs::write(file, sheet.html()).with_context(|| file.display().to_string())?;
        eprintln!("the contact sheet is {}", file.display());
    }
    Ok(())
}

/// Asks about every item, a few at a time; the answers come in the order of the items.
async fn each<T, R, F>(what: &str, items: Vec<T>, ask: impl Fn(T) -> F) -> anyhow::Result<Vec<R>>
where
    R: Send + 'static,
    F: Future<Output = anyhow::Result<R>> + Send + 'static,
{
    let total = items.len();
    let mut items = items.into_iter().enumerate();
    let mut answers: Vec<Option<R>> = (0..total).map(|_| None).collect();
    let mut tasks = JoinSet::new();
    let mut shown = Instant::now();
    let mut done = 0;
    loop {
        while tasks.len() < AT_ONCE
            && let Some((number, item)) = items.next()
        {
            let asking = ask(item);
            tasks.spawn(async move { (number, asking.await) });
        }
        let Some(answered) = tasks.join_next().await else {
            break;
        };
        let (number, answer) = answered.with_context(|| what.to_owned())?;
        answers[number] = Some(answer.with_context(|| what.to_owned())?);
        done += 1;
        if shown.elapsed() >= PROGRESS_PAUSE {
            shown = Instant::now();
            eprintln!("{what}: {done} of {total}");
        }
    }
    Ok(answers.into_iter().flatten().collect())
}

/// The scores of one picture by its neighbours.
fn score(photos: &Photos, photo: usize, hits: &[Hit], k: usize, depth: usize) -> Query {
    let class = photos.all[photo].class;
    let found: Vec<Option<usize>> = hits.iter().map(|hit| photos.find(&hit.id)).collect();
    let is_right = |found: &Option<usize>| found.is_some_and(|n| photos.all[n].class == class);
    let right: Vec<bool> = found.iter().map(is_right).collect();
    let others = class.map_or(0, |class| photos.class_sizes[class] - 1);
    let near = found.iter().zip(hits).take(k);
    let judged = right.iter().zip(hits).take(k);
    Query {
        photo,
        precision: precision(&right, k, others).unwrap_or_default(),
        average_precision: average_precision(&right, depth, others).unwrap_or_default(),
        near: near
            .filter_map(|(found, hit)| Some(((*found)?, hit.score)))
            .collect(),
        judged: judged
            .map(|(is_right, hit)| Judged {
                score: hit.score,
                is_right: *is_right,
                band: hit.band.clone(),
            })
            .collect(),
    }
}

/// Means over all pictures and over those of each class.
fn summarise(report: &mut Report, photos: &Photos, queries: &[Query]) {
    report.precision = mean(queries.iter().map(|query| query.precision));
    report.average_precision = mean(queries.iter().map(|query| query.average_precision));
    report.calibration = Calibration::of(queries.iter().flat_map(|query| &query.judged));
    let mut by_class: Vec<Vec<&Query>> = vec![Vec::new(); photos.classes.len()];
    for query in queries {
        if let Some(class) = photos.all[query.photo].class {
            by_class[class].push(query);
        }
    }
    let names = photos.classes.iter().zip(&photos.class_sizes);
    let classes = names.zip(by_class).map(|((name, size), queries)| {
        let of = |value: fn(&Query) -> f64| {
            (!queries.is_empty()).then(|| mean(queries.iter().map(|query| value(query))))
        };
        Class {
            name: name.clone(),
            photos: *size,
            precision: of(|query| query.precision),
            average_precision: of(|query| query.average_precision),
        }
    });
    report.classes = classes.collect();
    let key = |class: &Class| class.precision.unwrap_or(-1.0);
    // Stable: equals stay in the order of their names.
    report.classes.sort_by(|a, b| key(b).total_cmp(&key(a)));
}

/// Alters some photos and looks for them.
async fn robustness(
    arguments: &Arguments,
    service: &Service,
    photos: &Arc<Photos>,
) -> anyhow::Result<Vec<Robustness>> {
    let chosen = draw(
        photos.all.len(),
        arguments.robustness as usize,
        arguments.seed,
    );
    let (seed, k) = (arguments.seed, arguments.k as usize);
    let ranks = each("altered copies", chosen, |photo| {
        let (service, photos) = (service.clone(), Arc::clone(photos));
        async move {
            let wanted = &photos.all[photo];
            let jpeg = service.thumbnail(&wanted.id, COPY_SIDE).await?;
            let pixels = Pixels::read(&jpeg).with_context(|| wanted.path.clone())?;
            let mut random = Random::new(seed, 1000 + photo as u64);
            let mut ranks = [None; Change::ALL.len()];
            for (change, rank) in Change::ALL.into_iter().zip(&mut ranks) {
                let copy = change.apply(&pixels, &mut random)?;
                let hits = service.search(copy, k).await?;
                // Another file with the same bytes is as good.
                *rank = hits
                    .iter()
                    .position(|hit| hit.content_hash == wanted.content_hash);
            }
            Ok(ranks)
        }
    })
    .await?;
    let row = |(number, change): (usize, Change)| {
        let share = |is_found: fn(&usize) -> bool| {
            let found = ranks.iter().map(|ranks| ranks[number]);
            mean(found.map(|rank| f64::from(u8::from(rank.as_ref().is_some_and(is_found)))))
        };
        Robustness {
            change,
            photos: ranks.len(),
            first: share(|rank| *rank == 0),
            near: share(|_| true),
        }
    };
    Ok(Change::ALL.into_iter().enumerate().map(row).collect())
}

/// Up to `count` different numbers below `total`, in order, the same for the same seed.
fn draw(total: usize, count: usize, seed: u64) -> Vec<usize> {
    let mut random = Random::new(seed, 11);
    let mut keyed: Vec<(u64, usize)> = (0..total).map(|number| (random.bits(), number)).collect();
    keyed.sort_unstable();
    let mut drawn: Vec<usize> = keyed.into_iter().map(|(_, number)| number).collect();
    drawn.truncate(count);
    drawn.sort_unstable();
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    fn photos(paths: &[&str]) -> Photos {
        let row = |path: &&str| [(*path).to_owned(), (*path).to_owned(), String::new()];
        Photos::new(paths.iter().map(row).collect())
    }

    fn hits(ids: &[&str]) -> Vec<Hit> {
        let hit = |id: &&str| Hit {
            id: (*id).to_owned(),
            content_hash: String::new(),
            score: 0.5,
            band: None,
        };
        ids.iter().map(hit).collect()
    }

    #[test]
    fn neighbours_are_scored_by_their_class() {
        let photos = photos(&["a/1", "a/2", "a/3", "b/1", "b/2", "top"]);
        let near = hits(&["b/1", "a/2", "nobody's", "a/3", "top"]);
        let query = score(&photos, 0, &near, 2, 5);
        assert_eq!(query.precision, 0.5);
        assert_eq!(query.average_precision, (1.0 / 2.0 + 2.0 / 4.0) / 2.0);
        assert_eq!(query.near, [(3, 0.5), (1, 0.5)]);
        let right: Vec<bool> = query.judged.iter().map(|one| one.is_right).collect();
        assert_eq!(right, [false, true]);

        let other = score(&photos, 3, &hits(&["b/2", "a/1"]), 2, 5);
        assert_eq!(other.precision, 1.0);
        let mut report = Report::default();
        summarise(&mut report, &photos, &[query, other]);
        assert_eq!(report.precision, 0.75);
        let order: Vec<_> = report.classes.iter().map(|class| &class.name[..]).collect();
        assert_eq!(order, ["b", "a"], "best first");
        assert_eq!(report.classes[0].average_precision, Some(1.0));
    }

    #[test]
    fn draws_are_even_and_the_same_for_the_same_seed() {
        let drawn = draw(100, 10, 1);
        assert_eq!(drawn, draw(100, 10, 1));
        assert_ne!(drawn, draw(100, 10, 2));
        assert_eq!(drawn.len(), 10);
        assert!(drawn.windows(2).all(|two| two[0] < two[1]), "{drawn:?}");
        assert_eq!(draw(3, 10, 1), [0, 1, 2]);
    }

    #[tokio::test]
    async fn answers_come_in_order_and_an_error_ends_it() {
        let doubled = each("numbers", (0..20).collect(), |number: u64| async move {
            tokio::task::yield_now().await;
            Ok(number * 2)
        });
        let wanted: Vec<u64> = (0..20).map(|number| number * 2).collect();
        assert_eq!(doubled.await.unwrap(), wanted);
        let failed = each("numbers", vec![1, 2], |number: u64| async move {
            anyhow::ensure!(number < 2, "too large");
            Ok(())
        });
        let error = format!("{:#}", failed.await.unwrap_err());
        assert_eq!(error, "numbers: too large");
    }
}

//! `lookalike-loadtest bench search` against a running lookalike.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use lookalike_loadtest::bench::options::BenchOptions;
use lookalike_loadtest::bench::report::{BenchReport, render_page};
use lookalike_loadtest::bench::search::arguments::SearchArguments;
use lookalike_loadtest::bench::search::remote::measure_remote;

use crate::harness::{SystemWorld, eventually, sample_pictures};

/// Arguments for a short run, without a warm-up.
fn search_arguments(seconds: u64) -> SearchArguments {
    SearchArguments {
        seconds: Some(seconds),
        warm_up: 0,
        // A busy machine is no wrong answer.
        timeout: 60,
        rate: 10.0,
        ..SearchArguments::with_options(&BenchOptions::default())
    }
}

async fn world_with_pictures(name: &str) -> SystemWorld {
    add_pictures_and_start(SystemWorld::new(name)).await
}

async fn add_pictures_and_start(mut world: SystemWorld) -> SystemWorld {
    for (number, sample) in sample_pictures().iter().take(24).enumerate() {
        world.copy_file(sample, &format!("{number}.jpg"));
    }
    world.set_variable("LOOKALIKE_NATS_EMBED_TIMEOUT", "60s");
    world.start_up().await;
    world.assert_index_equals_folder().await;
    world
}

fn row_value(report: &BenchReport, name: &str) -> f64 {
    let row = report.rows.iter().find(|row| row.name == name);
    let row = row.unwrap_or_else(|| panic!("no row {name:?} in {:?}", report.rows));
    row.ours.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn searches_of_all_kinds_are_measured_and_their_answers_checked() {
    let mut world = world_with_pictures("bench-search").await;
    let stop = AtomicBool::new(false);
    let mut arguments = search_arguments(10);
    arguments.mix = "upload=2,id=1".parse().unwrap();
    let (report, problems) = measure_remote(&arguments, &world.url, &stop).await.unwrap();
    assert_eq!(problems, 0, "{:?}", report.notes);
    for kind in ["upload", "id"] {
        let p50 = row_value(&report, &format!("search by {kind}, p50"));
        assert!(p50 > 0.0 && p50 <= row_value(&report, &format!("search by {kind}, p99")));
    }
    // 100 on average; fewer than 10 or more than 170 are practically impossible.
    let intended: u64 = report.tables[0].rows.last().unwrap()[1].parse().unwrap();
    assert!((10..=170).contains(&intended), "{intended}");
    let notes = report.notes.join("\n");
    assert!(notes.contains("24 of 24 uploads are indexed"), "{notes}");
    assert!(render_page(&report).contains("<polyline"));

    arguments.clients = Some(3);
    let (report, problems) = measure_remote(&arguments, &world.url, &stop).await.unwrap();
    assert_eq!(problems, 0, "{:?}", report.notes);
    assert!(row_value(&report, "right answers") > 1.0);

    // The default model has no text encoder.
    arguments.mix = "text=1".parse().unwrap();
    let error = measure_remote(&arguments, &world.url, &stop)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("leave text out of --mix"), "{error}");
    world.stop_up().await;
    let error = measure_remote(&arguments, &world.url, &stop)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("is \"lookalike up\" running?"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pictures_are_added_meanwhile_and_removed_at_the_end() {
    let mut world = SystemWorld::new("bench-ingest");
    // So many pictures are removed at once that the watcher would ask first.
    world.set_variable("LOOKALIKE_WATCH_MASS_DELETE_SHARE", "1.0");
    let mut world = add_pictures_and_start(world).await;
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images");
    let mut arguments = search_arguments(3);
    arguments.ingest_into = Some(world.photos.clone());
    arguments.options.photos = Some(images);
    let stop = AtomicBool::new(false);
    let (report, problems) = measure_remote(&arguments, &world.url, &stop).await.unwrap();
    assert_eq!(problems, 0, "{:?}", report.notes);
    let notes = report.notes.join("\n");
    assert!(notes.contains("pictures were added meanwhile"), "{notes}");
    assert!(!notes.contains("\n0 pictures were added"), "{notes}");
    world.assert_index_equals_folder().await;
    assert_eq!(std::fs::read_dir(&world.photos).unwrap().count(), 24);
    world.stop_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_dies_is_reported_as_failed_searches() {
    let mut world = world_with_pictures("bench-dies").await;
    let url = world.url.clone();
    let running = tokio::spawn(async move {
        let stop = AtomicBool::new(false);
        measure_remote(&search_arguments(8), &url, &stop).await
    });
    eventually("searches are answered", Duration::from_secs(60), || async {
        let metrics = world.get_response("/metrics").await.text().await.unwrap();
        let counts = metrics
            .lines()
            .filter(|line| line.starts_with("lookalike_search_seconds_count"));
        let searches: f64 = counts
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum();
        if searches >= 5.0 {
            Ok(())
        } else {
            Err(format!("{searches} searches"))
        }
    })
    .await;
    world.kill_up();
    let (report, problems) = running.await.unwrap().unwrap();
    assert!(problems > 0, "{:?}", report.notes);
    let notes = report.notes.join("\n");
    assert!(notes.contains("failed search by upload"), "{notes}");
    assert!(row_value(&report, "search by upload, p50") > 0.0);
}

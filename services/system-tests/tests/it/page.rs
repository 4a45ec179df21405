//! The page in a real browser: what people do on it, accessibility, and budgets.
//!
//! Machines without Chromium (the Debian package `chromium`), Node.js or the npm registry skip these tests.

use std::path::PathBuf;
use std::process::Command;

use crate::harness::{
    SystemWorld, clients_folder, jpeg_variant, node_tools, run_tool, sample_pictures,
};
use crate::keys::run_keys;

/// Programs that are the browser, by their names on several systems.
const BROWSERS: &[&str] = &["chromium", "chromium-browser", "google-chrome"];

/// Returns the program of the browser. Prints that the test is skipped if there is none.
fn find_browser() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders)
        .flat_map(|folder| BROWSERS.iter().map(move |name| folder.join(name)))
        .find(|program| program.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: needs a browser: install the Debian package chromium");
    }
    found
}

/// Creates a library with copies, folders and a file that fails, and starts `up`. `extra` further
/// pictures have other bytes and the same content.
async fn serve_library(name: &str, extra: usize) -> SystemWorld {
    let mut world = SystemWorld::new(name);
    world.set_variable("LOOKALIKE_UPLOADS_ALLOW", "photos");
    world.set_variable("LOOKALIKE_UPLOADS_ALLOW_DELETIONS", "photos");
    let samples = sample_pictures();
    for (number, sample) in samples.iter().enumerate() {
        let year = if number < 20 { "2026" } else { "2025/summer" };
        world.copy_file(sample, &format!("{year}/{number}.jpg"));
    }
    world.copy_file(&samples[3], "2026/backup/3 copy.jpg");
    world.add_pictures("more", extra);
    std::fs::write(world.photos.join("empty.jpg"), b"").unwrap();
    world.start_up().await;
    world.wait_until_settled().await;
    world
}

/// Runs a script of `clients/page` with the browser.
async fn run_in_browser(script: &str, world: &SystemWorld, tools: PathBuf, browser: PathBuf) {
    let folder = world.dir.path().join("client");
    std::fs::create_dir(&folder).unwrap();
    for file in ["browser.mjs", script] {
        std::fs::copy(clients_folder().join("page").join(file), folder.join(file)).unwrap();
    }
    std::os::unix::fs::symlink(tools.join("node_modules"), folder.join("node_modules")).unwrap();
    let downloads = world.dir.path().join("downloads");
    std::fs::create_dir_all(&downloads).unwrap();
    let jpeg = std::fs::read(&sample_pictures()[0]).unwrap();
    std::fs::write(downloads.join("new.jpg"), jpeg_variant(&jpeg, 1_000_000)).unwrap();
    let mut command = Command::new("node");
    command
        .arg(folder.join(script))
        .arg(&world.url)
        .arg(browser)
        .arg(downloads)
        .arg(&world.photos)
        // The profile and sockets of the browser.
        .env("TMPDIR", world.dir.path())
        .current_dir(world.dir.path());
    let run = tokio::task::spawn_blocking(move || run_tool(&mut command));
    eprintln!("{}", run.await.unwrap());
}

#[tokio::test]
async fn people_search_filter_compare_and_download() {
    let (Some(browser), Some(tools)) = (find_browser(), node_tools()) else {
        return;
    };
    let mut world = serve_library("page-flows", 0).await;
    run_in_browser("flows.mjs", &world, tools, browser).await;
    world.stop_up().await;
}

#[tokio::test]
async fn a_key_for_one_library_suffices() {
    let (Some(browser), Some(tools)) = (find_browser(), node_tools()) else {
        return;
    };
    let mut world = SystemWorld::new("page-key");
    let hidden = world.add_library("secretlib");
    let samples = sample_pictures();
    std::fs::copy(&samples[0], hidden.join("confidential.jpg")).unwrap();
    world.add_pictures("", 3);
    let key = run_keys(&world, &["add", "guest", "--library", "photos"]);
    let downloads = world.dir.path().join("downloads");
    std::fs::create_dir(&downloads).unwrap();
    std::fs::write(downloads.join("key"), key["key"].as_str().unwrap()).unwrap();
    world.start_up().await;
    world.wait_until_settled().await;
    run_in_browser("key.mjs", &world, tools, browser).await;
    world.stop_up().await;
}

#[tokio::test]
async fn every_view_is_accessible_and_within_budget() {
    let (Some(browser), Some(tools)) = (find_browser(), node_tools()) else {
        return;
    };
    let mut world = serve_library("page-views", 260).await;
    run_in_browser("views.mjs", &world, tools, browser).await;
    world.stop_up().await;
}

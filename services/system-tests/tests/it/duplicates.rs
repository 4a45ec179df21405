//! Duplicates and comparisons, over the API and on the command line.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;

use lookalike_vision::{Limits, decode_image, encode_jpeg, encode_thumbnail};
use serde_json::Value;

use crate::harness::{SystemWorld, product_command, sample_pictures};

fn run_command(world: &SystemWorld, arguments: &[&str]) -> Output {
    product_command()
        .current_dir(&world.photos)
        .args(arguments)
        .arg("--data-dir")
        .arg(world.data_dir())
        .output()
        .unwrap()
}

#[track_caller]
fn run_successfully(world: &SystemWorld, arguments: &[&str]) -> Vec<u8> {
    let output = run_command(world, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    output.stdout
}

/// Returns the middle of a picture, mirrored: 80 % of its width, 75 % of its height.
fn crop_and_mirror(file: &Path) -> Vec<u8> {
    let bytes = std::fs::read(file).unwrap();
    let (image, _) = decode_image(&bytes, 1 << 14, &Limits::default()).unwrap();
    let (wide, high) = (image.width as usize, image.height as usize);
    let (left, top) = (wide / 10, high / 8);
    let (width, height) = (wide - 2 * left, high - 2 * top);
    let mut rgb = Vec::new();
    for row in 0..height {
        for column in (0..width).rev() {
            let at = ((top + row) * wide + left + column) * 3;
            rgb.extend_from_slice(&image.rgb[at..at + 3]);
        }
    }
    encode_jpeg(&rgb, width as u32, height as u32, 90)
}

/// The paths of each group, the one to keep first.
fn grouped_paths(groups: &[Value]) -> BTreeSet<Vec<String>> {
    let paths = groups.iter().map(|group| {
        let images = group["images"].as_array().unwrap();
        for (at, image) in images.iter().enumerate() {
            assert_eq!(image["keep"], at == 0, "{group}");
            assert!(!image["reasons"].as_array().unwrap().is_empty(), "{group}");
        }
        let path = |image: &Value| image["path"].as_str().unwrap().to_owned();
        images.iter().map(path).collect()
    });
    let paths: Vec<Vec<String>> = paths.collect();
    let distinct: BTreeSet<Vec<String>> = paths.iter().cloned().collect();
    assert_eq!(distinct.len(), paths.len(), "a group is listed twice");
    distinct
}

/// Reads all pages with this many groups in each.
async fn list_groups(world: &SystemWorld, query: &str, limit: usize) -> Vec<Value> {
    let mut groups = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/duplicates?{query}&limit={limit}{cursor}");
        let page = world.get_json(&path).await;
        let found = page["groups"].as_array().unwrap();
        assert!(found.len() <= limit, "{page}");
        groups.extend(found.iter().cloned());
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return groups,
        }
    }
}

fn expected(groups: &[&[&str]]) -> BTreeSet<Vec<String>> {
    let texts = |group: &&[&str]| group.iter().map(ToString::to_string).collect();
    groups.iter().map(texts).collect()
}

async fn start_world() -> SystemWorld {
    let mut world = SystemWorld::new("duplicates");
    let samples = sample_pictures();
    for (number, sample) in samples.iter().take(5).enumerate() {
        world.copy_file(sample, &format!("all/{number}.jpg"));
    }
    world.copy_file(&samples[0], "backup/0.jpg");
    world.copy_file(&samples[0], "all/deeper/0 (1).jpg");
    world.copy_file(&samples[1], "all/one more.jpg");
    let half = encode_thumbnail(
        &std::fs::read(&samples[2]).unwrap(),
        400,
        &Limits::default(),
    );
    std::fs::write(world.photos.join("half.jpg"), half.unwrap()).unwrap();
    std::fs::write(world.photos.join("crop.jpg"), crop_and_mirror(&samples[3])).unwrap();
    let smaller = encode_thumbnail(
        &std::fs::read(&samples[0]).unwrap(),
        500,
        &Limits::default(),
    );
    std::fs::write(world.photos.join("small 0.jpg"), smaller.unwrap()).unwrap();
    world.start_up().await;
    world.assert_index_equals_folder().await;
    world
}

#[tokio::test]
async fn every_group_is_listed_once_with_what_to_keep() {
    let mut world = start_world().await;
    let identical = expected(&[
        &["all/0.jpg", "all/deeper/0 (1).jpg", "backup/0.jpg"],
        &["all/1.jpg", "all/one more.jpg"],
    ]);
    let near = expected(&[
        &[
            "all/0.jpg",
            "all/deeper/0 (1).jpg",
            "backup/0.jpg",
            "small 0.jpg",
        ],
        &["all/2.jpg", "half.jpg"],
    ]);
    for limit in [1, 2, 100] {
        let groups = list_groups(&world, "kind=identical", limit).await;
        let sorted = |groups: BTreeSet<Vec<String>>| -> BTreeSet<Vec<String>> {
            let sorted = groups.into_iter().map(|mut group| {
                group[1..].sort();
                group
            });
            sorted.collect()
        };
        assert_eq!(sorted(grouped_paths(&groups)), identical, "{limit}");
        let bytes = |image: &Value| image["bytes"].as_u64().unwrap();
        for group in &groups {
            let images = group["images"].as_array().unwrap();
            let others: u64 = images[1..].iter().map(bytes).sum();
            assert_eq!(group["reclaimable_bytes"], others);
        }
        let groups = list_groups(&world, "kind=near", limit).await;
        assert_eq!(sorted(grouped_paths(&groups)), near, "{limit}");
    }
    let without = list_groups(
        &world,
        "filter=%7B%22not%22:%7B%22folder%22:%22backup%22%7D%7D",
        100,
    );
    assert!(grouped_paths(&without.await).contains(&vec![
        "all/0.jpg".to_owned(),
        "all/deeper/0 (1).jpg".to_owned()
    ]));
    let response = world.get_response("/v1/duplicates?cursor=nonsense").await;
    assert_eq!(response.status().as_u16(), 400);
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["param"], "cursor", "{problem}");

    let listed = String::from_utf8(run_successfully(&world, &["duplicates"])).unwrap();
    assert!(listed.contains("keep  photos/all/0.jpg"), "{listed}");
    assert!(
        listed.contains("2 groups of identical files: 5 pictures"),
        "{listed}"
    );
    let paths = run_successfully(&world, &["duplicates", "-0", "--library", "photos"]);
    let paths = String::from_utf8(paths).unwrap();
    let spare: BTreeSet<&str> = paths.split_terminator('\0').collect();
    let on_disk = |path: &str| world.photos.join(path).to_str().unwrap().to_owned();
    let wanted = ["all/deeper/0 (1).jpg", "backup/0.jpg", "all/one more.jpg"].map(on_disk);
    assert_eq!(spare, wanted.iter().map(String::as_str).collect());
    let json = run_successfully(
        &world,
        &["duplicates", "--kind", "near", "--limit", "1", "--json"],
    );
    let json: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["groups"].as_array().unwrap().len(), 1, "{json}");
    world.stop_up().await;
}

#[tokio::test]
async fn comparisons_state_what_differs() {
    let mut world = start_world().await;
    let compare = |a: &str, b: &str| -> Value {
        let output = run_successfully(&world, &["compare", a, b, "--json"]);
        serde_json::from_slice(&output).unwrap()
    };
    let kinds = |comparison: &Value| -> Vec<String> {
        let differences = comparison["differences"].as_array().unwrap();
        let kind = |difference: &Value| difference["kind"].as_str().unwrap().to_owned();
        differences.iter().map(kind).collect()
    };
    let same = compare("all/0.jpg", "photos/backup/0.jpg");
    assert_eq!(same["same_content"], true);
    assert!(kinds(&same).is_empty(), "{same}");
    assert_eq!(same["transform"]["overlap"], 1.0);

    let half = compare("all/2.jpg", "half.jpg");
    assert_eq!(
        (kinds(&half), &half["band"]),
        (vec!["size".to_owned()], &"same_picture".into())
    );
    let crop = compare("all/3.jpg", "crop.jpg");
    assert_eq!(kinds(&crop), ["crop", "mirror"], "{crop}");
    let differences = &crop["differences"];
    assert_eq!(
        differences[0]["detail"],
        "b shows the middle 80 % × 75 % of a"
    );
    assert_eq!(differences[1]["detail"], "b is mirrored left to right");
    assert!(
        (crop["transform"]["overlap"].as_f64().unwrap() - 0.6).abs() < 0.02,
        "{crop}"
    );
    let matrix = crop["transform"]["matrix"].as_array().unwrap();
    let matrix: Vec<f64> = matrix
        .iter()
        .map(|number| number.as_f64().unwrap())
        .collect();
    let a_width = crop["a"]["width"].as_f64().unwrap();
    let expected = [
        -1.0,
        0.0,
        0.9 * a_width,
        0.0,
        1.0,
        -crop["a"]["height"].as_f64().unwrap() / 8.0,
    ];
    for (number, expected) in matrix.iter().zip(expected) {
        let most = if expected.abs() > 1.0 {
            0.01 * a_width
        } else {
            0.01
        };
        assert!((number - expected).abs() < most, "{matrix:?} {expected}");
    }
    let other = compare("all/3.jpg", "all/4.jpg");
    assert!(kinds(&other).contains(&"content".to_owned()), "{other}");
    assert!(other["transform"].is_null(), "{other}");

    let text = run_successfully(&world, &["compare", "all/3.jpg", "crop.jpg"]);
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.contains("mirror    b is mirrored left to right\n"),
        "{text}"
    );
    let missing = "0".repeat(32);
    let response = world
        .get_response(&format!("/v1/compare?a={missing}&b={missing}"))
        .await;
    assert_eq!(response.status().as_u16(), 404);
    let problem: Value = response.json().await.unwrap();
    assert_eq!(
        (&problem["code"], &problem["param"]),
        (&"no_such_image".into(), &"a".into())
    );
    world.stop_up().await;
}

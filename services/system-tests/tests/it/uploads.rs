//! Uploads: a picture that arrives over the API is stored once, completely and never in place of another
//! file, and is then indexed like any other.

mod commands;
mod storage;
mod trash;

use std::fs;
use std::path::{Path, PathBuf};

use reqwest::header::LOCATION;
use serde_json::Value;

use crate::harness::{SETTLE_TIMEOUT, SystemWorld, eventually, files_below, sample_pictures};

/// The folder of uploads in progress.
const STAGING_FOLDER: &str = ".lookalike-uploads";

/// A world whose library permits uploads, and deletions as well if `may_delete`.
fn world_with_uploads(name: &str, may_delete: bool) -> SystemWorld {
    let mut world = SystemWorld::new(name);
    world.set_variable("LOOKALIKE_UPLOADS_ALLOW", "photos");
    if may_delete {
        world.set_variable("LOOKALIKE_UPLOADS_ALLOW_DELETIONS", "photos");
    }
    world
}

/// Returns the bytes of a sample picture.
fn sample(number: usize) -> Vec<u8> {
    fs::read(&sample_pictures()[number]).unwrap()
}

/// Sends a picture with these parameters.
async fn upload(world: &SystemWorld, parameters: &str, picture: &[u8]) -> (u16, Value) {
    let path = format!("/v1/images?{parameters}");
    world.post_bytes(&path, picture.to_vec()).await
}

/// Waits until an upload has left the state `landed`.
async fn wait_for_upload(world: &SystemWorld, upload: &Value) -> Value {
    let path = upload["upload_url"].as_str().unwrap().to_owned();
    eventually(
        "the upload is indexed or failed",
        SETTLE_TIMEOUT,
        || async {
            let present = world.try_get(&path).await?;
            match present["state"] == "landed" {
                true => Err(present.to_string()),
                false => Ok(present),
            }
        },
    )
    .await
}

/// Returns the files in the folder of uploads in progress.
fn staged_files(photos: &Path) -> Vec<PathBuf> {
    let folder = photos.join(STAGING_FOLDER);
    match folder.is_dir() {
        true => files_below(&folder),
        false => Vec::new(),
    }
}

async fn wait_until_nothing_is_staged(photos: &Path) {
    eventually("no temporary file is left", SETTLE_TIMEOUT, || async {
        match staged_files(photos) {
            staged if staged.is_empty() => Ok(()),
            staged => Err(format!("{staged:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn an_uploaded_picture_is_indexed_once() {
    let mut world = world_with_uploads("upload", false);
    world.start_up().await;
    world.wait_until_settled().await;
    let picture = sample(0);
    let path = "/v1/images?library=photos&folder=2026/May%201&name=a.jpg";
    let response = world.post_response(path, picture.clone()).await;
    assert_eq!(response.status(), 202);
    let location = response.headers()[LOCATION].to_str().unwrap().to_owned();
    let stored: Value = response.json().await.unwrap();
    assert_eq!(stored["upload_url"], location.as_str());
    assert_eq!(stored["state"], "landed");
    assert_eq!(stored["created"], true);
    assert_eq!(stored["path"], "2026/May 1/a.jpg");
    let hash = blake3::hash(&picture).to_string();
    assert_eq!(stored["content_hash"], hash.as_str());
    let file = world.photos.join("2026/May 1/a.jpg");
    assert_eq!(fs::read(&file).unwrap(), picture);

    let indexed = wait_for_upload(&world, &stored).await;
    assert_eq!(indexed["state"], "indexed", "{indexed}");
    let hits = world.search_by_picture(&picture, 1).await;
    assert_eq!(hits[0]["id"], indexed["image_id"]);
    let image = world.get_json(indexed["image_url"].as_str().unwrap()).await;
    assert_eq!(image["path"], "2026/May 1/a.jpg");

    // The same picture again: under another name, without a folder, and after a restart.
    let again = "library=PHOTOS&folder=2026/May%201/&name=b.jpg";
    let assert_known = |(status, repeated): (u16, Value)| {
        assert_eq!(status, 200, "{repeated}");
        assert_eq!(repeated["id"], stored["id"]);
        assert_eq!(repeated["created"], false);
        assert_eq!(repeated["state"], "indexed");
    };
    assert_known(upload(&world, again, &picture).await);
    assert_known(upload(&world, "", &picture).await);
    world.stop_up().await;
    world.start_up().await;
    world.wait_until_settled().await;
    let present = world.get_json(&location).await;
    assert_eq!(present["state"], "indexed", "{present}");
    assert_known(upload(&world, again, &picture).await);
    assert_eq!(files_below(&world.photos), std::slice::from_ref(&file));

    // The upload follows its picture.
    fs::rename(&file, world.photos.join("moved.jpg")).unwrap();
    let moved = eventually("the move is seen", SETTLE_TIMEOUT, || async {
        let present = world.try_get(&location).await?;
        match present["path"] == "moved.jpg" {
            true => Ok(present),
            false => Err(present.to_string()),
        }
    })
    .await;
    assert_eq!(moved["image_id"], indexed["image_id"]);
    // Another folder gets a copy, and another picture of the same name another name.
    let (status, copy) = upload(&world, "folder=copies&name=a.jpg", &picture).await;
    assert_eq!((status, &copy["path"]), (202, &"copies/a.jpg".into()));
    let (status, other) = upload(&world, "folder=copies&name=a.jpg", &sample(1)).await;
    assert_eq!((status, &other["path"]), (202, &"copies/a (2).jpg".into()));
    assert_eq!(wait_for_upload(&world, &copy).await["state"], "indexed");
    assert_eq!(wait_for_upload(&world, &other).await["state"], "indexed");

    for path in ["moved.jpg", "copies/a.jpg"] {
        fs::remove_file(world.photos.join(path)).unwrap();
    }
    eventually("the removal is seen", SETTLE_TIMEOUT, || async {
        let present = world.try_get(&location).await?;
        match present["state"] == "removed" {
            true => Ok(()),
            false => Err(present.to_string()),
        }
    })
    .await;
    world.assert_index_equals_folder().await;
    world.stop_up().await;
}

#[tokio::test]
async fn forms_and_names_from_contents() {
    let mut world = world_with_uploads("upload-form", false);
    world.start_up().await;
    world.wait_until_settled().await;
    let picture = sample(0);
    let (status, stored) = upload(&world, "", &picture).await;
    assert_eq!(status, 202, "{stored}");
    let hash = blake3::hash(&picture).to_string();
    assert_eq!(stored["path"], format!("{}.jpg", &hash[..16]));
    let head = "--x\r\nContent-Disposition: form-data; name=\"image\"; \
                filename=\"C:\\\\Photos\\\\caf\u{e9}\"\r\nContent-Type: image/jpeg\r\n\r\n";
    let form = [head.as_bytes(), &sample(1), b"\r\n--x--\r\n"].concat();
    let request = reqwest::Client::new().post(format!("{}/v1/images", world.url));
    let request = request.header("content-type", "multipart/form-data; boundary=x");
    let response = request.body(form).send().await.unwrap();
    assert_eq!(response.status(), 202);
    let in_form: Value = response.json().await.unwrap();
    assert_eq!(in_form["path"], "caf\u{e9}.jpg");
    assert_eq!(
        fs::read(world.photos.join("caf\u{e9}.jpg")).unwrap(),
        sample(1)
    );
    for stored in [&stored, &in_form] {
        assert_eq!(wait_for_upload(&world, stored).await["state"], "indexed");
    }
    world.stop_up().await;
}

#[tokio::test]
async fn libraries_permit_nothing_by_default() {
    let mut world = SystemWorld::with_up("upload-off").await;
    world.add_pictures("", 1);
    world.wait_until_settled().await;
    let libraries = world.get_json("/v1/libraries").await;
    assert_eq!(libraries["libraries"][0]["uploads"], false);
    assert_eq!(libraries["libraries"][0]["deletions"], false);
    let expect = |(status, problem): (u16, Value), code: &str, remedy: &str| {
        assert_eq!((status, &problem["code"]), (403, &code.into()), "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(remedy), "{detail}");
    };
    let refused = upload(&world, "library=photos", &sample(0)).await;
    assert_eq!(refused.1["param"], "library");
    expect(refused, "uploads_off", "--allow-uploads photos");
    expect(
        upload(&world, "", &sample(0)).await,
        "uploads_off",
        "--allow-uploads",
    );
    let (status, problem) = upload(&world, "library=phots", &sample(0)).await;
    assert_eq!((status, &problem["code"]), (404, &"no_such_library".into()));
    let row = world.read_row_at("0.jpg").await;
    let refused = trash::remove(&world, &row.id).await;
    expect(refused, "deletions_off", "--allow-deletions photos");
    assert_eq!(files_below(&world.photos).len(), 1);
    assert!(!world.photos.join(STAGING_FOLDER).exists());
    world.stop_up().await;
}

#[tokio::test]
async fn hostile_names_are_refused() {
    let mut world = world_with_uploads("upload-names", false);
    world.start_up().await;
    world.wait_until_settled().await;
    let outside = world.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, world.photos.join("link")).unwrap();
    fs::write(world.photos.join("file.txt"), "no folder").unwrap();
    let long = "x".repeat(300);
    for (parameter, value) in [
        ("folder", ".."),
        ("folder", "../outside"),
        ("folder", "a/../../outside"),
        ("folder", "/etc"),
        ("folder", "a//b"),
        ("folder", ".git"),
        ("folder", "a/.hidden"),
        ("folder", "a%00b"),
        ("folder", "a%0Ab"),
        ("folder", "link"),
        ("folder", "link/below"),
        ("folder", "file.txt"),
        ("folder", &long),
        ("name", ".."),
        ("name", "../outside/a.jpg"),
        ("name", "..%2Foutside%2Fa.jpg"),
        ("name", "..%5Ca.jpg"),
        ("name", ".a.jpg"),
        ("name", "~$a.jpg"),
        ("name", "a%00.jpg"),
        ("name", "a%1B.jpg"),
        ("name", ""),
        ("name", &long),
        ("library", "../photos"),
    ] {
        let (status, problem) = upload(&world, &format!("{parameter}={value}"), &sample(0)).await;
        assert_eq!(status, 400, "{parameter}={value}: {problem}");
        assert_eq!(problem["code"], "invalid_parameter", "{parameter}={value}");
        assert_eq!(problem["param"], parameter, "{value}: {problem}");
    }
    assert!(files_below(&outside).is_empty());
    wait_until_nothing_is_staged(&world.photos).await;
    assert_eq!(files_below(&world.photos), [world.photos.join("file.txt")]);
    // Names that look like those of unfinished files become those of pictures.
    let (status, stored) = upload(&world, "name=b.jpg.part", &sample(0)).await;
    assert_eq!((status, &stored["path"]), (202, &"b.jpg.part.jpg".into()));
    assert_eq!(wait_for_upload(&world, &stored).await["state"], "indexed");
    world.stop_up().await;
}

#[tokio::test]
async fn what_cannot_be_indexed_is_reported() {
    let mut world = world_with_uploads("upload-bad", false);
    world.set_variable("LOOKALIKE_UPLOADS_MAX_BYTES", "1MiB");
    world.start_up().await;
    world.wait_until_settled().await;
    let large = [sample(0), vec![0; 1 << 20]].concat();
    let mut psd = b"8BPS\0\x01".to_vec();
    psd.resize(4096, 0);
    for (content, status, code) in [
        (&b"no picture at all"[..], 415, "not_an_image"),
        (
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            415,
            "unsupported_format",
        ),
        (&psd, 415, "unsupported_format"),
        (b"", 422, "empty"),
        (&large, 413, "too_large"),
    ] {
        let answer = upload(&world, "name=a.jpg", content).await;
        let (actual, problem) = &answer;
        assert_eq!(
            (*actual, &problem["code"]),
            (status, &code.into()),
            "{problem}"
        );
    }
    wait_until_nothing_is_staged(&world.photos).await;
    assert!(files_below(&world.photos).is_empty());
    // Damage behind the first bytes is found by the decoder.
    let picture = sample(0);
    let (status, stored) = upload(&world, "name=a.jpg", &picture[..picture.len() / 2]).await;
    assert_eq!(status, 202, "{stored}");
    let failed = wait_for_upload(&world, &stored).await;
    assert_eq!(failed["state"], "failed", "{failed}");
    assert_eq!(failed["code"], "truncated", "{failed}");
    assert!(!failed["detail"].as_str().unwrap().is_empty());
    let unknown = world.get_response("/v1/uploads/unknown").await;
    assert_eq!(unknown.status(), 404);
    let problem: Value = unknown.json().await.unwrap();
    assert_eq!(problem["code"], "no_such_upload");
    world.assert_index_equals_folder().await;
    world.stop_up().await;
}

//! Files and uploads that are not pictures: each gets a reason and affects no other file.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;

use crate::harness::{SystemWorld, files_below, sample_pictures, shared_data};

async fn read_failures(world: &SystemWorld) -> std::collections::BTreeMap<String, String> {
    let listed = world.get_json("/v1/failures?limit=1000&ignored=true").await;
    let list = listed["failures"].as_array().unwrap();
    list.iter()
        .map(|f| {
            assert!(!f["detail"].as_str().unwrap().is_empty(), "{f}");
            (
                f["path"].as_str().unwrap().to_owned(),
                f["code"].as_str().unwrap().to_owned(),
            )
        })
        .collect()
}

/// Returns a PNG header that declares 65,535 × 65,535 pixels in a few dozen bytes.
fn decompression_bomb() -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xff\xff\0\0\xff\xff\x08\x06\0\0\0".to_vec();
    let crc = png[12..].iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    });
    png.extend((!crc).to_be_bytes());
    png.extend(b"\0\0\0\x01IDAT\0");
    png
}

#[tokio::test]
async fn strange_files_are_listed_and_disturb_nobody() {
    let mut world = SystemWorld::new("strange");
    let jpeg = std::fs::read(&sample_pictures()[0]).unwrap();
    let photos = world.photos.clone();
    let write = |name: &str, bytes: &[u8]| std::fs::write(photos.join(name), bytes).unwrap();
    write("good.jpg", &jpeg);
    write("good but named.png", &jpeg);
    write("empty.jpg", b"");
    write(
        "text.jpg",
        b"this is no picture at all, though it is long enough to be one",
    );
    write("truncated.jpg", &jpeg[..jpeg.len() / 2]);
    write("bomb.png", &decompression_bomb());
    write("notes.txt", b"not meant to be indexed");
    write(".hidden.jpg", &jpeg);
    write("new\nline and \"quotes\" ' \\ %.jpg", &jpeg);
    write(&format!("{}.jpg", "x".repeat(251)), &jpeg);
    std::fs::write(
        photos.join(std::ffi::OsStr::from_bytes(b"not utf-8 \xff.jpg")),
        &jpeg,
    )
    .unwrap();
    std::fs::create_dir(photos.join("folder.jpg")).unwrap();
    write("folder.jpg/inside.jpg", &jpeg);
    std::os::unix::fs::symlink("good.jpg", photos.join("link.jpg")).unwrap();
    std::os::unix::fs::symlink(".", photos.join("loop")).unwrap();
    write("unreadable.jpg", &jpeg);
    std::fs::set_permissions(
        photos.join("unreadable.jpg"),
        std::fs::Permissions::from_mode(0o000),
    )
    .unwrap();
    // Root can read every file.
    let is_root = std::fs::read(photos.join("unreadable.jpg")).is_ok();

    world.start_up().await;
    let rows = || async {
        world
            .read_rows()
            .await
            .into_values()
            .map(|row| row.path)
            .collect::<Vec<_>>()
    };
    crate::harness::eventually(
        "all have an outcome",
        crate::harness::SETTLE_TIMEOUT,
        || async {
            let stats = world.get_json("/v1/stats").await;
            if stats["on_disk"] == 15 && stats["in_flight"] == 0 {
                Ok(())
            } else {
                Err(stats.to_string())
            }
        },
    )
    .await;
    let failures = read_failures(&world).await;
    let code = |path: &str| failures.get(path).map_or("indexed", String::as_str);
    assert_eq!(code("empty.jpg"), "empty");
    assert_eq!(code("text.jpg"), "not_an_image");
    assert!(
        ["truncated", "corrupt"].contains(&code("truncated.jpg")),
        "{failures:?}"
    );
    assert_eq!(code("bomb.png"), "too_many_pixels");
    assert_eq!(code("notes.txt"), "not_a_picture_name");
    assert_eq!(code(".hidden.jpg"), "hidden");
    assert_eq!(code("link.jpg"), "symbolic_link");
    assert_eq!(code("loop"), "symbolic_link");
    assert_eq!(code(r"not utf-8 \xff.jpg"), "unusable_name");
    assert_eq!(
        code("unreadable.jpg"),
        if is_root { "indexed" } else { "unreadable" }
    );
    let rows = rows().await;
    for good in [
        "good.jpg",
        "good but named.png",
        "new\nline and \"quotes\" ' \\ %.jpg",
        "folder.jpg/inside.jpg",
    ] {
        assert!(
            rows.iter().any(|path| path == good),
            "{good:?} is not indexed: {rows:?}"
        );
    }

    // A repaired file is indexed automatically; the row of a broken one is removed.
    std::fs::write(photos.join("text.jpg"), &jpeg).unwrap();
    std::fs::write(photos.join("good.jpg"), b"spoilt").unwrap();
    crate::harness::eventually(
        "the change is seen",
        crate::harness::SETTLE_TIMEOUT,
        || async {
            let paths: Vec<_> = world
                .read_rows()
                .await
                .into_values()
                .map(|row| row.path)
                .collect();
            let has = |path: &str| paths.iter().any(|p| p == path);
            if has("text.jpg") && !has("good.jpg") {
                Ok(())
            } else {
                Err(format!("{paths:?}"))
            }
        },
    )
    .await;
    world.stop_up().await;
}

#[tokio::test]
async fn every_odd_file_is_indexed_or_failed_with_a_reason() {
    let (Some(malformed), Some(formats)) = (shared_data("malformed"), shared_data("formats"))
    else {
        return;
    };
    let mut world = SystemWorld::new("odd");
    // A busy machine needs long for the largest one.
    world.set_variable("LOOKALIKE_HTTP_REQUEST_TIMEOUT", "240s");
    world.set_variable("LOOKALIKE_VISION_DECODE_TIMEOUT", "240s");
    for folder in [&malformed, &formats] {
        for path in files_below(folder) {
            let name = path.file_name().unwrap().to_string_lossy();
            let below = folder.file_name().unwrap().to_string_lossy();
            world.copy_file(&path, &format!("{below}/{name}"));
        }
    }
    world.start_up().await;
    world.assert_index_equals_folder().await;
    let stats = world.wait_until_settled().await;
    assert!(stats["indexed"].as_u64().unwrap() > 100, "{stats}");
    assert!(world.up.as_mut().unwrap().is_running());
    let after_ingest = peak_memory(world.up.as_ref().unwrap().pid());

    // The same files as uploads: a result or a problem, never an internal error.
    for folder in [&malformed, &formats] {
        for path in files_below(folder) {
            let (status, body) = world
                .post_bytes("/v1/search/image?limit=1", std::fs::read(&path).unwrap())
                .await;
            let name = path.display();
            assert!(
                matches!(status, 200 | 413 | 415 | 422),
                "{name}: {status} {body}"
            );
            if status != 200 {
                assert!(
                    body["code"].is_string() && body["request_id"].is_string(),
                    "{name}: {body}"
                );
            }
        }
    }

    // All decoders together may use 1 GiB; the largest accepted bomb needs most of it.
    let up = world.up.as_ref().unwrap();
    let peak = peak_memory(up.pid());
    eprintln!(
        "peak memory of the whole process: {} MiB after ingest, {} MiB after the uploads",
        after_ingest >> 20,
        peak >> 20
    );
    assert!(peak < 1800 << 20, "{} MiB", peak >> 20);
    let log = up.log();
    let panics: Vec<_> = log.lines().filter(|l| l.contains("panicked at")).collect();
    assert!(panics.is_empty(), "{panics:?}");
    world.stop_up().await;
}

/// Returns the peak memory of a process (`VmHWM`), in bytes.
fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.unwrap().split_whitespace().next().unwrap();
    kilobytes.parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn bad_requests_are_problems_with_a_code() {
    let mut world = SystemWorld::with_up("requests").await;
    let check = |(status, body): (u16, serde_json::Value), expected: u16, code: &str| {
        assert_eq!(status, expected, "{body}");
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["status"], expected, "{body}");
        assert!(
            body["request_id"].is_string() && body["title"].is_string(),
            "{body}"
        );
    };
    let search = "/v1/search/image";
    check(
        world
            .post_bytes(search, b"hello, this is no picture".to_vec())
            .await,
        415,
        "not_an_image",
    );
    check(world.post_bytes(search, Vec::new()).await, 422, "empty");
    check(
        world.post_bytes(search, decompression_bomb()).await,
        422,
        "too_many_pixels",
    );
    let jpeg = std::fs::read(&sample_pictures()[0]).unwrap();
    let (status, body) = world
        .post_bytes(search, jpeg[..jpeg.len() / 2].to_vec())
        .await;
    assert_eq!(status, 422, "{body}");
    check(
        world.post_bytes(search, vec![0; 65 << 20]).await,
        413,
        "too_large",
    );
    for (path, status, code) in [
        ("/v1/images/nonsense", 400, "invalid_parameter"),
        (
            "/v1/images/00000000000000000000000000000000",
            404,
            "no_such_image",
        ),
        ("/v1/nothing", 404, "no_such_route"),
        ("/v1/images?limit=0", 400, "invalid_parameter"),
    ] {
        let response = world.get_response(path).await;
        let kind = response.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        assert!(
            kind.starts_with("application/problem+json"),
            "{path}: {kind}"
        );
        check(
            (response.status().as_u16(), response.json().await.unwrap()),
            status,
            code,
        );
    }
    // A path that would leave the library is rejected.
    let escape = world
        .get_response("/v1/images/..%2f..%2fetc%2fpasswd/content")
        .await;
    assert!(escape.status().is_client_error());
    world.stop_up().await;
}

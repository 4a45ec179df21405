//! Files that are not in the index: listed, explained, retried and discarded, on the command line and
//! over HTTP.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Output;

use serde_json::{Value, json};

use crate::harness::{SystemWorld, eventually, jpeg_variant, product_command, sample_pictures};

/// Time limit of one small step on a busy machine.
const STEP_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

/// Creates a world with a good picture, a truncated one, an empty one, and a text file.
async fn with_failures(name: &str) -> SystemWorld {
    let world = SystemWorld::with_up(name).await;
    let picture = std::fs::read(&sample_pictures()[0]).unwrap();
    std::fs::create_dir(world.photos.join("2026")).unwrap();
    std::fs::write(world.photos.join("2026/good.jpg"), &picture).unwrap();
    std::fs::write(
        world.photos.join("2026/short.jpg"),
        &picture[..picture.len() / 2],
    )
    .unwrap();
    std::fs::write(world.photos.join("empty.png"), b"").unwrap();
    std::fs::write(world.photos.join("notes.txt"), b"no picture").unwrap();
    let stats = world.wait_until_settled().await;
    assert_eq!(
        (&stats["indexed"], &stats["failed"], &stats["ignored"]),
        (&json!(1), &json!(2), &json!(1)),
        "{stats}"
    );
    world
}

/// Runs a command against this world, in its folder of pictures.
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
fn run_successfully(world: &SystemWorld, arguments: &[&str]) -> String {
    let output = run_command(world, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn run_for_json(world: &SystemWorld, arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
    serde_json::from_str(&run_successfully(world, &arguments)).unwrap()
}

#[tokio::test]
async fn names_that_are_not_utf8_are_found_by_name() {
    let mut world = SystemWorld::with_up("bytes").await;
    std::fs::create_dir(world.photos.join("2026")).unwrap();
    let file = world.photos.join(OsStr::from_bytes(b"2026/caf\xe9.jpg"));
    std::fs::copy(&sample_pictures()[0], &file).unwrap();
    std::fs::write(world.photos.join("new\nline.jpg"), b"").unwrap();
    world.wait_until_settled().await;
    let listed = run_successfully(&world, &["failures", "--ignored"]);
    for path in [r"photos/2026/caf\xe9.jpg: ", r"photos/new\nline.jpg: "] {
        assert!(listed.contains(path), "{path} is not in {listed}");
    }
    let by_library = OsStr::from_bytes(b"photos/2026/caf\xe9.jpg");
    let relative = OsStr::from_bytes(b"2026/caf\xe9.jpg");
    for name in [
        file.as_os_str(),
        by_library,
        relative,
        OsStr::new(r"photos/2026/caf\xe9.jpg"),
        OsStr::new(r"2026/caf\xe9.jpg"),
    ] {
        for command in [&["why"][..], &["failures", "show"]] {
            let output = product_command()
                .current_dir(&world.photos)
                .args(command)
                .arg(name)
                .arg("--data-dir")
                .arg(world.data_dir())
                .output()
                .unwrap();
            let stdout = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{name:?}: {output:?}");
            assert!(stdout.contains("unusable_name"), "{name:?}: {stdout}");
        }
    }
    let shown = run_successfully(&world, &["failures", "show", r"photos/new\nline.jpg"]);
    assert!(shown.contains("(empty)"), "{shown}");
    world.stop_up().await;
}

/// Posts JSON as a page of `site` would; returns status and body.
async fn post_json(world: &SystemWorld, path: &str, body: Value, site: &str) -> (u16, Value) {
    let request = reqwest::Client::new()
        .post(format!("{}{path}", world.url))
        .header("content-type", "application/json")
        .header("sec-fetch-site", site)
        .body(body.to_string());
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

#[tokio::test]
async fn why_reports_a_file_history_up_to_the_index() {
    let world = with_failures("why").await;
    let life = run_for_json(&world, &["why", "2026/good.jpg"]);
    let steps: Vec<&str> = life["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .collect();
    assert_eq!(
        steps,
        [
            "seen",
            "settled",
            "sent",
            "delivered",
            "read",
            "decoded",
            "embedded",
            "written",
            "confirmed"
        ],
        "{life}"
    );
    assert_eq!(
        (&life["state"], &life["visible"]),
        (&json!("indexed"), &json!(true)),
        "{life}"
    );
    // The same file by its id, by its absolute path, and as lists print it.
    let id = life["id"].as_str().unwrap();
    let whole = world.photos.join("2026/good.jpg");
    for named in [id, whole.to_str().unwrap(), "photos/2026/good.jpg"] {
        assert_eq!(
            run_for_json(&world, &["why", named])["id"],
            life["id"],
            "{named}"
        );
    }
    let printed = run_successfully(&world, &["why", "2026/good.jpg"]);
    assert!(
        printed.contains("written") && printed.contains("visible    yes"),
        "{printed}"
    );

    // A copy reuses the existing vector.
    std::fs::copy(&whole, world.photos.join("copy.jpg")).unwrap();
    world.wait_until_settled().await;
    let copy = run_for_json(&world, &["why", "copy.jpg"]);
    let reused = copy["steps"]
        .as_array()
        .unwrap()
        .iter()
        .any(|step| step["step"] == "reused");
    assert!(reused && copy["visible"] == true, "{copy}");

    // The reason why a file is not indexed, with a remedy.
    let printed = run_successfully(&world, &["why", "2026/short.jpg"]);
    for words in ["failed", "truncated", "Copy it again", "visible    no"] {
        assert!(printed.contains(words), "{words:?} is not in\n{printed}");
    }
    let printed = run_successfully(&world, &["why", "notes.txt"]);
    assert!(printed.contains("not_a_picture_name"), "{printed}");

    // A file outside all libraries, and an unknown one.
    let output = run_command(&world, &["why", "/etc/hostname"]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.contains("no library") && stderr.contains("photos ("),
        "{stderr}"
    );
    let output = run_command(&world, &["why", "never-there.jpg"]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("no_such_file"), "{stderr}");
}

/// Runs `act`, which retries the truncated picture, and waits until it has failed again.
async fn failing_again<T>(world: &SystemWorld, act: impl FnOnce() -> T) -> T {
    let life = || run_for_json(world, &["why", "2026/short.jpg"]);
    let generation = |life: &Value| life["generation"].as_u64().unwrap();
    let before = generation(&life());
    let done = act();
    eventually("it fails again", STEP_TIMEOUT, || async {
        let life = life();
        let again = generation(&life) > before && life["code"] == "truncated";
        if again && life["state"] == "failed" {
            Ok(())
        } else {
            Err(life.to_string())
        }
    })
    .await;
    done
}

/// The roles' status arrives with a delay.
async fn one_fails_and_two_are_ignored(world: &SystemWorld) {
    eventually("one fails, and two are ignored", STEP_TIMEOUT, || async {
        let stats = world.get_json("/v1/stats").await;
        match (&stats["failed"], &stats["ignored"]) == (&json!(1), &json!(2)) {
            true => Ok(()),
            false => Err(stats.to_string()),
        }
    })
    .await;
}

#[tokio::test]
async fn failures_are_tried_again_and_left_alone() {
    let mut world = with_failures("failures").await;
    let listed = run_for_json(&world, &["failures"]);
    assert_eq!(listed["failures"].as_array().unwrap().len(), 2, "{listed}");
    let only = run_for_json(&world, &["failures", "list", "--code", "empty"]);
    assert_eq!(only["failures"][0]["path"], "empty.png", "{only}");
    let ignored = run_successfully(&world, &["failures", "--ignored"]);
    assert!(ignored.contains("notes.txt"), "{ignored}");
    let shown = run_successfully(&world, &["failures", "show", "2026/short.jpg"]);
    assert!(
        shown.contains("Cut short (truncated)") && shown.contains("remedy"),
        "{shown}"
    );

    // Retried: it is read and fails again.
    let retried = failing_again(&world, || {
        run_for_json(&world, &["failures", "retry", "2026/short.jpg"])
    });
    assert_eq!(
        retried.await,
        json!({"files": 1, "not_found": 0, "unreachable_libraries": []})
    );
    let all = failing_again(&world, || {
        run_successfully(&world, &["failures", "retry", "--all"])
    })
    .await;
    assert!(all.contains("2 files are tried again"), "{all}");
    // An indexed file cannot be retried.
    let output = run_command(&world, &["failures", "retry", "2026/good.jpg"]);
    assert_eq!(output.status.code(), Some(1));

    // Discarded until it changes, also after a restart.
    let left = run_successfully(&world, &["failures", "discard", "--code", "truncated"]);
    assert!(
        left.contains("1 file is ignored until it changes"),
        "{left}"
    );
    one_fails_and_two_are_ignored(&world).await;
    world.stop_up().await;
    world.start_up().await;
    one_fails_and_two_are_ignored(&world).await;
    let discarded = run_for_json(&world, &["failures", "--code", "discarded"]);
    assert_eq!(
        discarded["failures"][0]["path"], "2026/short.jpg",
        "{discarded}"
    );
    let back = failing_again(&world, || {
        run_successfully(&world, &["failures", "retry", "--code", "discarded"])
    });
    let back = back.await;
    assert!(back.contains("1 file is tried again"), "{back}");
    run_successfully(&world, &["failures", "discard", "2026/short.jpg"]);
    let picture = std::fs::read(&sample_pictures()[1]).unwrap();
    std::fs::write(
        world.photos.join("2026/short.jpg"),
        jpeg_variant(&picture, 1),
    )
    .unwrap();
    eventually("the new content is indexed", STEP_TIMEOUT, || async {
        let life = run_for_json(&world, &["why", "2026/short.jpg"]);
        let done = life["state"] == "indexed" && life["visible"] == true;
        if done { Ok(()) } else { Err(life.to_string()) }
    })
    .await;
    world.assert_index_equals_folder().await;
}

#[tokio::test]
async fn what_changes_something_is_not_for_other_sites() {
    let world = with_failures("origins").await;
    let everything = json!({"all": true});
    for path in [
        "/v1/failures/retry",
        "/v1/failures/discard",
        "/v1/libraries/photos/scan",
        "/v1/libraries/photos/confirm",
    ] {
        let (status, answer) = post_json(&world, path, everything.clone(), "cross-site").await;
        assert_eq!(
            (status, &answer["code"]),
            (403, &json!("cross_origin")),
            "{path}"
        );
    }
    let (status, answer) = post_json(&world, "/v1/failures/retry", json!({}), "same-origin").await;
    assert_eq!(
        (status, &answer["code"]),
        (400, &json!("invalid_parameter")),
        "{answer}"
    );
    let (status, answer) = post_json(
        &world,
        "/v1/failures/retry",
        json!({"ids": [1]}),
        "same-origin",
    )
    .await;
    assert_eq!((status, &answer["param"]), (400, &json!("ids")), "{answer}");
    let unknown = "0".repeat(32);
    let named = json!({"ids": [unknown]});
    let (status, answer) = post_json(&world, "/v1/failures/retry", named, "same-origin").await;
    assert_eq!(
        (status, &answer["files"], &answer["not_found"]),
        (200, &json!(0), &json!(1))
    );
    let (status, answer) = post_json(
        &world,
        "/v1/libraries/photos/scan",
        Value::Null,
        "same-origin",
    )
    .await;
    assert_eq!(
        (status, &answer["scanning"]),
        (200, &json!(true)),
        "{answer}"
    );
    let (status, answer) = post_json(
        &world,
        "/v1/libraries/unknown/scan",
        Value::Null,
        "same-origin",
    )
    .await;
    assert_eq!((status, &answer["code"]), (404, &json!("no_such_library")));
    let answer = run_for_json(&world, &["confirm", "photos"]);
    assert_eq!(answer["scanning"], true, "{answer}");

    // A truncated picture has a preview; a file that is no picture has none.
    let listed = world.get_json("/v1/failures").await;
    for failure in listed["failures"].as_array().unwrap() {
        let is_short = failure["code"] == "truncated";
        assert_eq!(failure["preview_url"].is_string(), is_short, "{failure}");
        if let Some(url) = failure["preview_url"].as_str() {
            let response = world.get_response(url).await;
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["content-type"], "image/jpeg");
            assert!(response.headers().contains_key("content-security-policy"));
            let bytes = response.bytes().await.unwrap();
            let on_disk = std::fs::read(world.photos.join("2026/short.jpg")).unwrap();
            assert_eq!(bytes, on_disk);
        }
    }
    let good = run_for_json(&world, &["why", "2026/good.jpg"]);
    let url = format!("/v1/failures/{}/preview", good["id"].as_str().unwrap());
    assert_eq!(world.get_response(&url).await.status(), 404);
}

//! Commands that read from a running service: facets, events, exports, and the outputs of searches.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::harness::{SETTLE_TIMEOUT, SystemWorld, eventually, product_command, sample_pictures};

const PICTURES: usize = 7;

async fn start_world(name: &str) -> SystemWorld {
    let mut world = SystemWorld::new(name);
    for (number, sample) in sample_pictures().iter().take(PICTURES).enumerate() {
        world.copy_file(sample, &format!("shoes, red/{number}.jpg"));
    }
    world.start_up().await;
    world.assert_index_equals_folder().await;
    world
}

fn client_command(world: &SystemWorld, arguments: &[&str]) -> Command {
    let mut command = product_command();
    command
        .args(arguments)
        .args(["--url", &world.url])
        .env("LOOKALIKE_MILVUS_NAMESPACE", &world.namespace)
        .current_dir(world.dir.path());
    command
}

async fn run(mut command: Command) -> Output {
    let ran = tokio::task::spawn_blocking(move || command.output().unwrap());
    ran.await.unwrap()
}

#[track_caller]
fn assert_success(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

async fn run_client(world: &SystemWorld, arguments: &[&str]) -> String {
    assert_success(&run(client_command(world, arguments)).await)
}

#[tokio::test]
async fn facets_count_what_filters_select() {
    let mut world = start_world("facets").await;
    let text = run_client(&world, &["facets", "format,tag"]).await;
    assert!(
        text.starts_with(&format!("{PICTURES} pictures\n")),
        "{text}"
    );
    let row = |label: &str| {
        let line = text.lines().find(|line| line.contains(label)).unwrap();
        line.split_whitespace().last().unwrap().to_owned()
    };
    assert_eq!(row("jpeg"), PICTURES.to_string());
    assert_eq!(row("shoes, red"), PICTURES.to_string());
    let json = run_client(
        &world,
        &["facets", "format", "--json", "--library", "photos"],
    )
    .await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["facets"]["format"]["values"][0]["count"], PICTURES);
    let wrong = run(client_command(&world, &["facets", "size"])).await;
    assert_eq!(wrong.status.code(), Some(2));
    world.stop_up().await;
}

#[tokio::test]
async fn exports_contain_every_picture_and_its_vector() {
    let mut world = start_world("export").await;
    let lines = run_client(&world, &["export", "--page-size", "3"]).await;
    let images: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(images.len(), PICTURES);
    let ids: Vec<&str> = images.iter().map(|i| i["id"].as_str().unwrap()).collect();
    assert!(ids.is_sorted());
    let milvus_url = world.direct_milvus_url();
    let npy = ["export", "--output", "v.npy", "--milvus-url", &milvus_url];
    assert_eq!(run_client(&world, &npy).await, "");
    let matrix = std::fs::read(world.dir.path().join("v.npy")).unwrap();
    let listed = std::fs::read_to_string(world.dir.path().join("v.ids.txt")).unwrap();
    assert_eq!(listed.lines().collect::<Vec<_>>(), ids);
    let header = String::from_utf8_lossy(&matrix[..128]).into_owned();
    assert!(
        header.contains(&format!("'shape': ({PICTURES}, 384)")),
        "{header}"
    );
    let index = world.open_index().await;
    let strong = lookalike_index::ReadConsistency::Strong;
    for (row, id) in ids.iter().enumerate() {
        let expected = index.fetch_vector(id, strong).await.unwrap().unwrap();
        let numbers = matrix[128..].chunks_exact(4).skip(row * 384).take(384);
        let exported: Vec<f32> = numbers
            .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
            .collect();
        assert_eq!(exported, expected, "{id}");
    }
    let csv = [
        "export",
        "--output",
        "new.csv",
        "--vectors",
        "--milvus-url",
        &milvus_url,
    ];
    run_client(&world, &csv).await;
    let csv = std::fs::read_to_string(world.dir.path().join("new.csv")).unwrap();
    assert_eq!(csv.lines().count(), PICTURES + 1);
    assert!(csv.contains(",\"shoes, red/0.jpg\","), "{csv}");
    let filter = r#"{"path": "shoes, red/3.jpg"}"#;
    assert_eq!(
        run_client(&world, &["export", "--filter", filter])
            .await
            .lines()
            .count(),
        1
    );
    // A matrix needs two files; a failed export leaves none.
    let no_file = run(client_command(&world, &["export", "--format", "npy"])).await;
    assert_eq!(no_file.status.code(), Some(2));
    let failing = [
        "export",
        "--output",
        "bad.jsonl",
        "--filter",
        r#"{"nope": 1}"#,
    ];
    let failing = run(client_command(&world, &failing)).await;
    assert_eq!(failing.status.code(), Some(1));
    let names = list_names(world.dir.path());
    assert!(!names.iter().any(|name| name.contains("bad")), "{names:?}");
    assert!(
        !names.iter().any(|name| name.contains("partial")),
        "{names:?}"
    );
    world.stop_up().await;
}

fn list_names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

fn has_event(log: &str, kind: &str, id: &str) -> bool {
    log.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .any(|event| event["type"] == kind && event["id"] == id)
}

#[tokio::test]
async fn events_continue_after_a_restart() {
    let mut world = start_world("watch-events").await;
    // The address must stay the same.
    let address = world.url.trim_start_matches("http://").to_owned();
    let command = client_command(
        &world,
        &["watch-events", "--json", "--type", "indexed,removed,gap"],
    );
    let mut watching = world.start_command(command, "events");
    // Events arrive only after the stream was opened: repeat until it is.
    let mut added = 0;
    eventually("the first event arrives", SETTLE_TIMEOUT, || {
        world.add_pictures(&format!("first-{added}"), 1);
        added += 1;
        let log = watching.log();
        async move { log.contains("\"indexed\"").then_some(()).ok_or(log) }
    })
    .await;
    world.assert_index_equals_folder().await;
    let list = world
        .get_json("/v1/images?limit=1&path_prefix=first-0/")
        .await;
    let removed = list["images"][0]["id"].as_str().unwrap().to_owned();
    world.stop_up().await;
    world.add_pictures("second", 2);
    std::fs::remove_file(world.photos.join("first-0/0.jpg")).unwrap();
    let mut command = world.role_command("up");
    command.env("LOOKALIKE_HTTP_LISTEN", &address);
    let _ = std::fs::remove_file(world.data_dir().join("up.json"));
    let mut arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let listen = arguments.iter().position(|a| a == "--listen").unwrap();
    arguments[listen + 1] = address.into();
    let mut again = Command::new(command.get_program());
    again.args(arguments).current_dir(world.dir.path());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => again.env(name, value),
            None => again.env_remove(name),
        };
    }
    let up = world.start_command(again, "up");
    world.wait_for_up(up).await;
    world.assert_index_equals_folder().await;
    let list = world.get_json("/v1/images?path_prefix=second/").await;
    let added = list["images"].as_array().unwrap().iter();
    let mut expected: Vec<(&str, String)> = added
        .map(|image| ("indexed", image["id"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(expected.len(), 2);
    expected.push(("removed", removed));
    eventually("the later events arrive", SETTLE_TIMEOUT, || {
        let log = watching.log();
        let missing: Vec<_> = expected
            .iter()
            .filter(|(kind, id)| !has_event(&log, kind, id))
            .collect();
        let result = match missing.as_slice() {
            [] => Ok(()),
            missing => Err(format!("{missing:?} in {log}")),
        };
        async move { result }
    })
    .await;
    let status = watching.interrupt_process().await;
    assert!(status.success(), "{status}: {}", watching.log());
    assert!(
        watching.log().contains("reconnecting"),
        "{}",
        watching.log()
    );
    world.stop_up().await;
}

#[tokio::test]
async fn searches_read_and_print_lists() {
    let mut world = start_world("search-lists").await;
    let samples = sample_pictures();
    let first = world.photos.join("shoes, red/0.jpg");
    // A picture from standard input; paths for other programs.
    let mut command = client_command(&world, &["search", "-", "--limit", "1", "--paths", "-0"]);
    command.stdin(std::fs::File::open(&samples[0]).unwrap());
    let printed = assert_success(&run(command).await);
    assert_eq!(printed, format!("{}\0", first.display()));
    // A list of files from standard input; a bad one delays no other.
    let list = format!(
        "{}\0missing.jpg\0{}\0",
        samples[1].display(),
        samples[2].display()
    );
    let arguments = [
        "search",
        "--files-from",
        "-",
        "--null",
        "--limit",
        "1",
        "--json",
    ];
    let output = run_with_input(client_command(&world, &arguments), list.into_bytes()).await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("missing.jpg") && stderr.contains("1 of 3"),
        "{stderr}"
    );
    let answers: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let found: Vec<&str> = answers
        .iter()
        .map(|answer| answer["hits"][0]["path"].as_str().unwrap())
        .collect();
    assert_eq!(found, ["shoes, red/1.jpg", "shoes, red/2.jpg"]);
    assert_eq!(answers[0]["image"], samples[1].to_str().unwrap());
    // Thumbnails in the terminal; none in a pipe unless they are asked for.
    let picture = samples[0].to_str().unwrap();
    let plain = run_client(&world, &["search", picture, "--limit", "2"]).await;
    assert_eq!(plain.lines().count(), 2, "{plain}");
    let kitty = ["search", picture, "--limit", "2", "--thumbnails", "kitty"];
    let kitty = run_client(&world, &kitty).await;
    assert_eq!(kitty.matches("\x1b_Ga=T").count(), 2);
    world.stop_up().await;
}

async fn run_with_input(mut command: Command, input: Vec<u8>) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let ran = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(&input).unwrap();
        child.wait_with_output().unwrap()
    });
    ran.await.unwrap()
}

/// `xdg-open` starts the program that `BROWSER` names.
#[tokio::test]
async fn a_search_opens_on_the_page() {
    if Command::new("xdg-open").arg("--version").output().is_err() {
        eprintln!("SKIPPED: needs xdg-open, which is not installed");
        return;
    }
    let mut world = start_world("search-open").await;
    let browser = world.dir.path().join("browser");
    let opened = world.dir.path().join("opened");
    let script = format!(
        "#!/bin/sh\nprintf %s \"$1\" > '{0}.new'\nmv '{0}.new' '{0}'\n",
        opened.display()
    );
    std::fs::write(&browser, script).unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&browser, std::fs::Permissions::from_mode(0o755)).unwrap();
    let images = world.get_json("/v1/images?limit=1").await;
    let id = images["images"][0]["id"].as_str().unwrap().to_owned();
    let mut command = client_command(&world, &["search", "--id", &id, "--open"]);
    command.env("BROWSER", &browser).env_remove("DISPLAY");
    assert_success(&run(command).await);
    let url = eventually("the browser starts", SETTLE_TIMEOUT, || async {
        std::fs::read_to_string(&opened).map_err(|error| error.to_string())
    })
    .await;
    assert_eq!(url, format!("{}/#/like/{id}", world.url));
    world.stop_up().await;
}

//! API keys that are limited to libraries: to their requests, no other library exists. The tests send
//! requests of every operation of the API document.

mod guest;
mod requests;

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    SETTLE_TIMEOUT, SystemWorld, eventually, jpeg_variant, product_command, read_events_until,
    sample_pictures,
};
use crate::keys::run_keys;
use guest::{Guest, HIDDEN_LIBRARY, Secrets};
use requests::{ApiRequest, RequestTarget, list_requests};

/// The world of a guest, whose key permits to see `photos` only.
struct GuestWorld {
    world: SystemWorld,
    guest: Guest,
    visible: RequestTarget,
    hidden: RequestTarget,
    absent: RequestTarget,
}

impl GuestWorld {
    /// Indexes pictures and a broken file in both libraries; one picture is in both.
    async fn start(name: &str) -> Self {
        let mut world = SystemWorld::new(name);
        let hidden_root = world.add_library(HIDDEN_LIBRARY);
        let samples = sample_pictures();
        let twin = fs::read(&samples[0]).unwrap();
        for (number, sample) in samples[..3].iter().enumerate() {
            let bytes = fs::read(sample).unwrap();
            let bytes = if number == 0 {
                twin.clone()
            } else {
                jpeg_variant(&bytes, 1000 + number)
            };
            fs::write(
                hidden_root.join(format!("confidential-{number}.jpg")),
                bytes,
            )
            .unwrap();
        }
        world.copy_file(&samples[0], "twin.jpg");
        world.add_pictures("", 4);
        fs::write(world.photos.join("broken.jpg"), &twin[..2000]).unwrap();
        fs::write(hidden_root.join("confidential-broken.jpg"), &twin[..3000]).unwrap();
        let arguments = ["add", "guest", "--library", "photos", "--scope", "admin"];
        let key = run_keys(&world, &arguments);
        assert_eq!(key["libraries"], json!(["photos"]));
        world.start_up().await;
        world.wait_until_settled().await;
        let images = all_images(&world).await;
        let failures = world.get_json("/v1/failures?limit=100").await;
        let failures = failures["failures"].as_array().unwrap().clone();
        let saved = world.save_search(&twin, json!({})).await;
        let target = |library: &str| RequestTarget {
            library: library.to_owned(),
            id: id_of(&images, library),
            failed_id: id_of(&failures, library),
            saved_search: saved["id"].as_str().unwrap().to_owned(),
            path: "confidential-1.jpg".to_owned(),
        };
        let (visible, hidden) = (target("photos"), target(HIDDEN_LIBRARY));
        let absent = RequestTarget {
            library: "missinglib".to_owned(),
            id: "0123456789abcdef0123456789abcdef".to_owned(),
            failed_id: "fedcba9876543210fedcba9876543210".to_owned(),
            saved_search: "00112233445566778899aabbccddeeff".to_owned(),
            ..hidden.clone()
        };
        let secrets = images.iter().chain(&failures);
        let secrets = Secrets::of_entries(secrets, &hidden_root);
        let guest = Guest::new(&world.url, key["key"].as_str().unwrap(), secrets);
        Self {
            world,
            guest,
            visible,
            hidden,
            absent,
        }
    }
}

async fn all_images(world: &SystemWorld) -> Vec<Value> {
    // Reads may miss the newest rows.
    eventually("all images are listed", SETTLE_TIMEOUT, || async {
        let images = world.try_get("/v1/images?limit=100").await?;
        let images = images["images"].as_array().unwrap().clone();
        match images.len() {
            8 => Ok(images),
            count => Err(count.to_string()),
        }
    })
    .await
}

/// Returns the id of the last image or failure of a library.
fn id_of(entries: &[Value], library: &str) -> String {
    let mut of_library = entries.iter().filter(|entry| entry["library"] == library);
    of_library.next_back().unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Lists the operations of the API document.
async fn list_operations(world: &SystemWorld) -> Vec<String> {
    let document = world.get_json("/openapi.json").await;
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|path| path.as_object().unwrap().values());
    let ids = operations.map(|operation| operation["operationId"].as_str().unwrap().to_owned());
    ids.collect()
}

#[tokio::test]
async fn nothing_of_another_library_shows_up() {
    let world = GuestWorld::start("key-libraries").await;
    let (guest, anchor) = (&world.guest, world.visible.id.clone());
    for operation in list_operations(&world.world).await {
        for request in list_requests(&operation, &world.visible, &anchor) {
            let answer = guest.send(&request).await;
            let is_saved_search = request.path.starts_with("/v1/saved-searches");
            match is_saved_search {
                true => assert_eq!(answer.code(), "insufficient_scope", "{request:?}"),
                false => assert!(answer.status < 500, "{request:?}: {answer:?}"),
            }
            guest.assert_no_secret(&request, &answer);
        }
        // What the key must not see looks as if it did not exist.
        let hidden = list_requests(&operation, &world.hidden, &anchor);
        let absent = list_requests(&operation, &world.absent, &anchor);
        for (hidden_request, absent_request) in hidden.iter().zip(&absent) {
            let answer = guest.send(hidden_request).await;
            guest.assert_no_secret(hidden_request, &answer);
            if hidden_request.text() == absent_request.text() {
                // Counts and rates change between two requests.
                continue;
            }
            let answer = answer.without_target(&world.hidden);
            let expected = guest.send(absent_request).await;
            let expected = expected.without_target(&world.absent);
            assert_eq!(answer, expected, "{hidden_request:?}");
        }
    }
    assert_hidden_files_stay(&world).await;
}

/// The guest's actions had no effect on the hidden library.
async fn assert_hidden_files_stay(world: &GuestWorld) {
    let path = format!("/v1/why?id={}", world.hidden.failed_id);
    let failed = world.world.get_json(&path).await;
    assert_eq!(failed["state"], "failed", "{failed}");
    let saved = world.world.get_json("/v1/saved-searches").await;
    assert_eq!(saved["saved_searches"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn counts_and_groups_are_those_of_the_libraries() {
    let world = GuestWorld::start("key-library-counts").await;
    let (guest, anchor) = (&world.guest, &world.visible.id);
    let get = async |path: &str| guest.send(&ApiRequest::get(path)).await.json();
    let stats = get("/v1/stats").await;
    assert_eq!(stats["on_disk"], 6, "{stats}");
    assert_eq!(
        (&stats["indexed"], &stats["failed"]),
        (&json!(5), &json!(1))
    );
    let libraries = get("/v1/libraries").await;
    assert_eq!(libraries["libraries"].as_array().unwrap().len(), 1);
    assert_eq!(get("/v1/session").await["libraries"], json!(["photos"]));
    let facets = get("/v1/facets?fields=library").await;
    assert_eq!(facets["facets"]["library"]["distinct"], 1, "{facets}");
    assert_eq!(
        (&facets["images"], &facets["total"]),
        (&json!(5), &json!(5))
    );
    let images = get("/v1/images?limit=100").await;
    assert_eq!(images["images"].as_array().unwrap().len(), 5);
    // The other file of the pair is not visible, so there is no pair.
    let duplicates = get("/v1/duplicates").await;
    assert_eq!(duplicates["groups"], json!([]));
    assert_eq!(duplicates["examined"], 5);
    let all = world.world.get_json("/v1/duplicates").await;
    assert_eq!(all["groups"].as_array().unwrap().len(), 1, "{all}");

    // A cursor belongs to the libraries of its search as well.
    let search = json!({ "id": anchor, "limit": 2 });
    let first = reqwest::Client::new().post(format!("{}/v1/search", world.world.url));
    let first: Value = first
        .json(&search)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let mut next = search.clone();
    next["cursor"] = first["cursor"].clone();
    let refused = guest.send(&ApiRequest::post("/v1/search", &next)).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert_eq!(refused.json()["param"], "cursor");
    let own = guest.send(&ApiRequest::post("/v1/search", &search)).await;
    next["cursor"] = own.json()["cursor"].clone();
    let page = guest.send(&ApiRequest::post("/v1/search", &next)).await;
    assert_eq!(page.json()["hits"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn events_are_those_of_the_libraries() {
    let world = GuestWorld::start("key-library-events").await;
    let mut events = world.guest.open_events().await;
    let picture = fs::read(&sample_pictures()[0]).unwrap();
    let hidden_root = world.world.libraries[1].1.clone();
    let indexed = |count: u64| {
        world
            .world
            .wait_for_stats("the pictures are indexed", move |stats| {
                stats["indexed"] == count && stats["in_flight"] == 0
            })
    };
    fs::write(
        hidden_root.join("confidential-new.jpg"),
        jpeg_variant(&picture, 91),
    )
    .unwrap();
    indexed(9).await;
    fs::write(
        world.world.photos.join("new.jpg"),
        jpeg_variant(&picture, 92),
    )
    .unwrap();
    indexed(10).await;
    fs::remove_file(hidden_root.join("confidential-new.jpg")).unwrap();
    indexed(9).await;
    fs::remove_file(world.world.photos.join("new.jpg")).unwrap();
    let seen = read_events_until(&mut events, "removed", SETTLE_TIMEOUT).await;
    let mut kinds: Vec<&str> = Vec::new();
    for event in &seen {
        assert_ne!(event["library"], HIDDEN_LIBRARY, "{event}");
        if event["type"] == "progress" {
            assert!(event["on_disk"].as_u64().unwrap() <= 7, "{event}");
        } else {
            kinds.push(event["type"].as_str().unwrap());
        }
    }
    // The saved search matches both pictures; its matches are no events of a library.
    assert_eq!(kinds, ["indexed", "removed"]);
}

#[tokio::test]
async fn a_key_limits_its_requests_where_keys_are_required() {
    let mut world = SystemWorld::new("key-library-required");
    world.set_variable("LOOKALIKE_HTTP_REQUIRE_KEYS", "always");
    world.add_library(HIDDEN_LIBRARY);
    let free = run_keys(&world, &["add", "free"]);
    assert_eq!(free["libraries"], Value::Null);
    let limited = run_keys(&world, &["add", "limited", "--library", "photos"]);
    world.start_up().await;
    let names = async |key: &Value| {
        let key = key["key"].as_str().unwrap();
        let guest = Guest::new(&world.url, key, Secrets::default());
        let answer = guest.send(&ApiRequest::get("/v1/libraries")).await;
        let libraries = answer.json()["libraries"].as_array().unwrap().clone();
        libraries
            .into_iter()
            .map(|library| library["name"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&limited).await, ["photos"]);
    eventually(
        "the other key sees both",
        Duration::from_secs(30),
        || async {
            match names(&free).await {
                names if names == ["photos", HIDDEN_LIBRARY] => Ok(()),
                names => Err(format!("{names:?}")),
            }
        },
    )
    .await;
}

#[test]
fn unknown_libraries_cause_a_warning() {
    let world = SystemWorld::new("key-library-names");
    let run = |arguments: &[&str]| {
        let mut command = product_command();
        command
            .arg("keys")
            .args(arguments)
            .arg("--data-dir")
            .arg(world.data_dir());
        command.env("LOOKALIKE_LIBRARIES_PHOTOS", &world.photos);
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (code, _, errors) = run(&["add", "a", "--library", "photos", "--library", "photo"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(errors.contains("list no library photo "), "{errors}");
    assert!(!errors.contains("list no library photos"), "{errors}");
    let (code, _, errors) = run(&["add", "b", "--library", "My photos"]);
    assert_eq!(code, Some(2), "{errors}");
    run(&["add", "c"]);
    let (_, table, _) = run(&["list"]);
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[0].contains("LIBRARIES"), "{table}");
    assert!(
        rows[1].contains(" photo, photos ") && rows[2].contains(" all "),
        "{table}"
    );
}

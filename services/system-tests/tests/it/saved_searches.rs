//! Saved searches: each new or changed picture is compared with them, and each match is stored once.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    SETTLE_TIMEOUT, SystemWorld, eventually, jpeg_variant, read_events_until, sample_pictures,
};

/// Reads the events of the world after `last_id` up to the first one of this type.
async fn next_event(world: &SystemWorld, last_id: Option<&str>, wanted: &str) -> Value {
    first_of_type(events_until(world, last_id, wanted).await, wanted)
}

fn first_of_type(events: Vec<Value>, wanted: &str) -> Value {
    let mut events = events.into_iter();
    events.find(|event| event["type"] == wanted).unwrap()
}

async fn events_until(world: &SystemWorld, last_id: Option<&str>, wanted: &str) -> Vec<Value> {
    let mut request = reqwest::Client::new().get(format!("{}/v1/events", world.url));
    if let Some(id) = last_id {
        request = request.header("Last-Event-ID", id);
    }
    let mut stream = request.send().await.unwrap();
    read_events_until(&mut stream, wanted, SETTLE_TIMEOUT).await
}

#[tokio::test]
async fn new_and_changed_pictures_match_once() {
    let mut world = SystemWorld::with_up("saved-searches").await;
    let samples = sample_pictures();
    let picture = fs::read(&samples[0]).unwrap();
    world.copy_file(&samples[0], "before.jpg");
    world.wait_until_settled().await;
    let created = world.save_search(&picture, json!({})).await;
    let id = created["id"].as_str().unwrap().to_owned();
    assert_eq!(created["matches"], 0);
    assert_eq!(created["query"][0]["is_image"], true);
    let wanted = world.save_search(
        &picture,
        json!({ "filter": { "folder": "wanted" }, "name": "in a folder" }),
    );
    let wanted = wanted.await["id"].as_str().unwrap().to_owned();

    fs::write(world.photos.join("copy.jpg"), jpeg_variant(&picture, 1)).unwrap();
    world.copy_file(&samples[1], "other.jpg");
    world.copy_file(&samples[0], "wanted/copy.jpg");
    let matches = world
        .wait_for_matches(&id, &["copy.jpg", "wanted/copy.jpg"])
        .await;
    let found = world.wait_for_matches(&wanted, &["wanted/copy.jpg"]).await;
    assert!(found[0]["score"].as_f64().unwrap() > 0.95, "{found:?}");
    let row = world.read_row_at("wanted/copy.jpg").await;
    assert_eq!(found[0]["id"], row.id.as_str());
    assert_eq!(found[0]["content_hash"], row.content_hash.as_str());

    // The event is delivered live, and again to a client that was away.
    let event = next_event(&world, Some("0-0"), "match").await;
    assert!(event["content_hash"].is_string(), "{event}");
    let live = next_event(&world, None, "match");
    let change = async {
        fs::write(world.photos.join("copy.jpg"), jpeg_variant(&picture, 2)).unwrap();
    };
    let (event, ()) = tokio::join!(live, change);
    assert_eq!(event["saved_search"], id.as_str());
    assert_eq!(event["saved_search_name"], "copies");
    let copy = world.read_row_at("copy.jpg").await;
    assert_eq!(event["id"], copy.id.as_str());
    assert_eq!(event["image_url"], format!("/v1/images/{}", copy.id));
    // The changed content is another match of the same picture.
    let paths = ["copy.jpg", "copy.jpg", "wanted/copy.jpg"];
    world.wait_for_matches(&id, &paths).await;

    // A start repeats nothing, and an event that a client has seen is not repeated either.
    world.stop_up().await;
    world.start_up().await;
    fs::rename(
        world.photos.join("other.jpg"),
        world.photos.join("moved.jpg"),
    )
    .unwrap();
    fs::rename(
        world.photos.join("copy.jpg"),
        world.photos.join("copy2.jpg"),
    )
    .unwrap();
    fs::write(world.photos.join("last.jpg"), jpeg_variant(&picture, 3)).unwrap();
    let seen = event["event_id"].as_str().unwrap().to_owned();
    let next = eventually("the event of the last match", SETTLE_TIMEOUT, || async {
        let events = events_until(&world, Some(&seen), "match").await;
        // Until the service has read the streams, it does not know the place.
        match events.iter().any(|event| event["type"] == "gap") {
            false => Ok(first_of_type(events, "match")),
            true => Err(format!("{events:?}")),
        }
    })
    .await;
    let last = world.read_row_at("last.jpg").await;
    assert_eq!(next["id"], last.id.as_str());
    let paths = ["copy.jpg", "copy.jpg", "last.jpg", "wanted/copy.jpg"];
    let after = world.wait_for_matches(&id, &paths).await;
    assert_eq!(after[..2], matches[..]);

    assert_deletion(&world, &id, &wanted).await;
}

/// Deletes one of two saved searches; the other one stays.
async fn assert_deletion(world: &SystemWorld, id: &str, other: &str) {
    let listed = world.get_json("/v1/saved-searches").await;
    assert_eq!(listed["saved_searches"].as_array().unwrap().len(), 2);
    let shown = world.get_json(&format!("/v1/saved-searches/{id}")).await;
    assert_eq!(
        (&shown["matches"], &shown["problem"]),
        (&json!(4), &Value::Null)
    );
    let url = format!("{}/v1/saved-searches/{id}", world.url);
    let deleted = reqwest::Client::new().delete(&url).send().await.unwrap();
    assert_eq!(deleted.status(), 204);
    let again = reqwest::Client::new().delete(&url).send().await.unwrap();
    assert_eq!(again.status(), 404);
    assert_eq!(
        again.json::<Value>().await.unwrap()["code"],
        "no_such_saved_search"
    );
    let listed = world.get_json("/v1/saved-searches").await;
    assert_eq!(listed["saved_searches"][0]["id"], other);
}

#[tokio::test]
async fn pictures_of_the_time_without_a_service_match_after_its_start() {
    let mut world = SystemWorld::new("saved-while-down");
    let mut roles = world.start_roles().await;
    world.wait_until_ready().await;
    let samples = sample_pictures();
    let picture = fs::read(&samples[0]).unwrap();
    let created = world.save_search(&picture, json!({})).await;
    let id = created["id"].as_str().unwrap().to_owned();
    roles.serve.kill_process();
    world.copy_file(&samples[0], "while-down.jpg");
    world.copy_file(&samples[1], "other.jpg");
    let index = world.open_index().await;
    eventually("both pictures are indexed", SETTLE_TIMEOUT, || async {
        match world.try_read_rows(&index).await?.len() {
            2 => Ok(()),
            count => Err(format!("{count} rows")),
        }
    })
    .await;
    // Two services share the work; each match is stored once.
    let second = world.start_role("serve");
    roles.serve = world.start_command(world.role_command("serve"), "serve-2");
    world.url = roles.serve.read_address("address=").await;
    world.wait_until_ready().await;
    world.wait_for_matches(&id, &["while-down.jpg"]).await;
    let paths: Vec<String> = (0..24)
        .map(|number| format!("many/{number:02}.jpg"))
        .collect();
    fs::create_dir(world.photos.join("many")).unwrap();
    for (number, path) in paths.iter().enumerate() {
        fs::write(world.photos.join(path), jpeg_variant(&picture, number)).unwrap();
    }
    let mut expected: Vec<&str> = paths.iter().map(String::as_str).collect();
    expected.push("while-down.jpg");
    world.wait_for_matches(&id, &expected).await;
    drop(second);
    roles.stop_roles().await;
}

#[tokio::test]
async fn the_service_killed_in_the_middle_of_matching_loses_and_repeats_nothing() {
    let mut world = SystemWorld::new("saved-killed");
    world.set_variable("LOOKALIKE_NATS_ACK_WAIT", "2s");
    world.set_variable("LOOKALIKE_SAVED_SEARCHES_MAX_BATCH", "3");
    let mut roles = world.start_roles().await;
    world.wait_until_ready().await;
    let picture = fs::read(&sample_pictures()[0]).unwrap();
    let created = world.save_search(&picture, json!({})).await;
    let id = created["id"].as_str().unwrap().to_owned();
    let paths: Vec<String> = (0..30).map(|number| format!("{number:02}.jpg")).collect();
    for (number, path) in paths.iter().enumerate() {
        fs::write(world.photos.join(path), jpeg_variant(&picture, number)).unwrap();
    }
    for at_least in [1, 10, 20] {
        eventually("some matches are stored", SETTLE_TIMEOUT, || async {
            match world.try_matches(&id).await?.len() {
                count if count >= at_least => Ok(()),
                count => Err(format!("{count} matches")),
            }
        })
        .await;
        roles.serve.kill_process();
        roles.serve = world.start_command(
            world.role_command("serve"),
            &format!("serve-after-{at_least}"),
        );
        world.url = roles.serve.read_address("address=").await;
        world.wait_until_ready().await;
    }
    let expected: Vec<&str> = paths.iter().map(String::as_str).collect();
    world.wait_for_matches(&id, &expected).await;
    roles.stop_roles().await;
}

/// Returns changes of a valid request, each with the status, code and parameter of its refusal.
fn refused_changes() -> Vec<(Value, u16, &'static str, &'static str)> {
    vec![
        (json!({ "name": null }), 400, "invalid_parameter", "name"),
        (json!({ "name": "a\nb" }), 400, "invalid_parameter", "name"),
        (json!({ "query": null }), 400, "invalid_parameter", "query"),
        (
            json!({ "query": {} }),
            400,
            "invalid_parameter",
            "query.image",
        ),
        (
            json!({ "query": { "id": "x" } }),
            400,
            "invalid_parameter",
            "query.id",
        ),
        (
            json!({ "query": { "id": "0".repeat(32) } }),
            404,
            "no_such_image",
            "query.id",
        ),
        (
            json!({ "query": { "image": "AAAA" } }),
            415,
            "not_an_image",
            "query.image",
        ),
        (
            json!({ "query": { "text": "a car" } }),
            400,
            "invalid_parameter",
            "band",
        ),
        (
            json!({ "query": { "text": "a car" }, "band": null, "min_score": 0.2 }),
            409,
            "model_without_text",
            "query.text",
        ),
        (
            json!({ "query": { "colour": "red" } }),
            400,
            "invalid_request",
            "query",
        ),
        (
            json!({ "band": null }),
            400,
            "invalid_parameter",
            "min_score",
        ),
        (
            json!({ "min_score": 0.5 }),
            400,
            "invalid_parameter",
            "band",
        ),
        (
            json!({ "band": "no_match" }),
            400,
            "invalid_parameter",
            "band",
        ),
        (
            json!({ "filter": { "width": "x" } }),
            400,
            "invalid_parameter",
            "filter.width",
        ),
        (
            json!({ "filter": { "library": "nope" } }),
            404,
            "no_such_library",
            "filter.library",
        ),
        (
            json!({ "webhook": { "url": "https://hooks.example.com/" } }),
            400,
            "invalid_parameter",
            "webhook.url",
        ),
    ]
}

#[tokio::test]
async fn senseless_searches_are_refused() {
    let mut world = SystemWorld::new("saved-refused");
    world.set_variable("LOOKALIKE_SAVED_SEARCHES_MAX_SEARCHES", "1");
    world.start_up().await;
    world.copy_file(&sample_pictures()[0], "a.jpg");
    world.wait_until_settled().await;
    let id = world.read_row_at("a.jpg").await.id;
    let valid = json!({ "name": "a", "query": { "id": id }, "band": "near_duplicate" });
    for (change, status, code, param) in refused_changes() {
        let mut request = valid.clone();
        for (key, value) in change.as_object().unwrap() {
            request[key] = value.clone();
        }
        let (actual, body) = world.post_saved_search(&request).await;
        let summary = (actual, body["code"].as_str(), body["param"].as_str());
        assert_eq!(
            summary,
            (status, Some(code), Some(param)),
            "{request}: {body}"
        );
    }
    let (status, body) = world.post_saved_search(&valid).await;
    assert_eq!(status, 201, "{body}");
    let (status, body) = world.post_saved_search(&valid).await;
    assert_eq!(
        (status, body["code"].as_str()),
        (409, Some("too_many_saved_searches"))
    );
    let detail = body["detail"].as_str().unwrap();
    assert!(detail.contains("saved_searches.max_searches"), "{detail}");
    // The picture of the query is no match itself, but its copy is.
    world.copy_file(&sample_pictures()[0], "b.jpg");
    let listed = world.get_json("/v1/saved-searches").await;
    let id = listed["saved_searches"][0]["id"].as_str().unwrap();
    let found = world.wait_for_matches(id, &["b.jpg"]).await;
    assert_eq!(found[0]["band"], "same_picture");
    let missing = world.get_response("/v1/saved-searches/0/matches").await;
    assert_eq!(missing.status(), 400);
    let cursor = format!("/v1/saved-searches/{id}/matches?cursor=x");
    assert_eq!(world.get_response(&cursor).await.status(), 400);
    tokio::time::timeout(Duration::from_secs(30), world.stop_up())
        .await
        .unwrap();
}

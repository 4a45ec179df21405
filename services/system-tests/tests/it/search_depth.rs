//! Searches that go deep: pages, groups of copies, regions, and turned copies.

use std::collections::HashSet;
use std::path::Path;

use lookalike_vision::{
    DecodedImage, Limits, PictureRegion, PictureTurn, decode_image, encode_jpeg,
};
use serde_json::{Value, json};

use crate::harness::{SystemWorld, jpeg_variant, sample_pictures};

/// Sends `POST /v1/search`.
async fn search(world: &SystemWorld, request: &Value) -> (u16, Value) {
    let client = reqwest::Client::new();
    let request = client
        .post(format!("{}/v1/search", world.url))
        .json(request);
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn search_hits(world: &SystemWorld, request: &Value) -> Value {
    let (status, answer) = search(world, request).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// Returns the ids of all pages of a search.
async fn read_pages(world: &SystemWorld, request: &Value, limit: usize) -> Vec<String> {
    let mut request = request.clone();
    request["limit"] = limit.into();
    let mut ids = Vec::new();
    for _ in 0..500 {
        let answer = search_hits(world, &request).await;
        let page = ids_of(&answer);
        assert!(page.len() <= limit);
        ids.extend(page);
        request["cursor"] = answer["cursor"].clone();
        if answer["cursor"].is_null() {
            return ids;
        }
    }
    panic!("the pages have no end");
}

fn ids_of(answer: &Value) -> Vec<String> {
    let hits = answer["hits"].as_array().unwrap().iter();
    hits.map(|hit| hit["id"].as_str().unwrap().to_owned())
        .collect()
}

fn hit_at<'a>(answer: &'a Value, path: &str) -> Option<(usize, &'a Value)> {
    let hits = answer["hits"].as_array().unwrap().iter();
    hits.enumerate().find(|(_, hit)| hit["path"] == path)
}

async fn id_at(world: &SystemWorld, path: &str) -> String {
    let list = world
        .get_json(&format!("/v1/images?limit=1&path_prefix={path}"))
        .await;
    list["images"][0]["id"].as_str().unwrap().to_owned()
}

/// Changes the decoded picture of a file and writes it to another one.
fn write_changed(from: &Path, to: &Path, change: impl FnOnce(&DecodedImage) -> DecodedImage) {
    let bytes = std::fs::read(from).unwrap();
    let (picture, _) = decode_image(&bytes, 100_000, &Limits::default()).unwrap();
    let changed = change(&picture);
    let jpeg = encode_jpeg(&changed.rgb, changed.width, changed.height, 97);
    std::fs::write(to, jpeg).unwrap();
}

async fn start_world() -> SystemWorld {
    let mut world = SystemWorld::new("search-depth");
    let samples = sample_pictures();
    for (number, sample) in samples.iter().take(50).enumerate() {
        world.copy_file(sample, &format!("some/{number}.jpg"));
    }
    // Identical files, the same picture in other files, and a turned copy.
    for number in 0..30 {
        world.copy_file(&samples[0], &format!("copies/{number}.jpg"));
    }
    let jpeg = std::fs::read(&samples[0]).unwrap();
    for number in 0..5 {
        let path = world.photos.join(format!("copies/variant{number}.jpg"));
        std::fs::write(path, jpeg_variant(&jpeg, number)).unwrap();
    }
    let quarter = |picture: &DecodedImage| picture.turned(PictureTurn::ALL[5]);
    write_changed(
        &samples[0],
        &world.photos.join("copies/turned.jpg"),
        quarter,
    );
    write_changed(&samples[1], &world.photos.join("some/turned.jpg"), quarter);
    let right_half = PictureRegion::new(0.5, 0.0, 0.5, 1.0).unwrap();
    let half = |picture: &DecodedImage| picture.crop(&right_half);
    write_changed(&samples[2], &world.photos.join("some/half.jpg"), half);
    world.start_up().await;
    world.assert_index_equals_folder().await;
    world
}

#[tokio::test]
async fn searches_go_deep() {
    let mut world = start_world().await;
    pages_contain_each_hit_once(&world).await;
    cursors_of_other_searches_are_refused(&world).await;
    groups_fold_copies(&world).await;
    relative_scores_cut_off(&world).await;
    regions_are_pictures(&world).await;
    turned_copies_are_found(&world).await;
    pages_repeat_nothing_while_files_change(&world).await;
    world.stop_up().await;
}

async fn pages_contain_each_hit_once(world: &SystemWorld) {
    let id = id_at(world, "some/0.jpg").await;
    for request in [
        json!({ "id": id }),
        json!({ "id": id, "orientations": true }),
        json!({ "id": id, "filter": { "folder": "copies" } }),
        json!({ "id": id, "min_score": 0.3 }),
        json!({ "id": id, "group": "content" }),
        json!({ "id": id, "group": "near" }),
        json!({ "id": id, "positive": [{ "id": id_at(world, "some/9.jpg").await }] }),
    ] {
        let mut request = request;
        request["limit"] = 1000.into();
        let all = search_hits(world, &request).await;
        assert_eq!(all["cursor"], Value::Null, "{request}");
        let all: HashSet<String> = ids_of(&all).into_iter().collect();
        assert!(!all.is_empty());
        let mut orders = Vec::new();
        for limit in [1, 7, 50] {
            let ids = read_pages(world, &request, limit).await;
            let distinct: HashSet<String> = ids.iter().cloned().collect();
            assert_eq!(distinct.len(), ids.len(), "{request} {limit}");
            if request["group"].is_null() {
                assert_eq!(distinct, all, "{request} {limit}");
            } else {
                // The same groups; which copy is the first one depends on the first window.
                assert_eq!(distinct.len(), all.len(), "{request} {limit}");
            }
            orders.push(ids);
        }
        if request["positive"].is_null() {
            assert_eq!(orders[0], orders[1], "{request}");
            assert_eq!(orders[0], orders[2], "{request}");
        }
    }
}

async fn cursors_of_other_searches_are_refused(world: &SystemWorld) {
    let id = id_at(world, "some/0.jpg").await;
    let first = search_hits(world, &json!({ "id": id, "limit": 5 })).await;
    let cursor = &first["cursor"];
    for request in [
        json!({ "id": id_at(world, "some/1.jpg").await, "cursor": cursor }),
        json!({ "id": id, "filter": { "folder": "some" }, "cursor": cursor }),
        json!({ "id": id, "min_score": 0.1, "cursor": cursor }),
        json!({ "id": id, "group": "near", "cursor": cursor }),
        json!({ "id": id, "region": { "x": 0, "y": 0, "width": 1, "height": 0.5 }, "cursor": cursor }),
        json!({ "id": id, "cursor": id }),
    ] {
        let (status, problem) = search(world, &request).await;
        assert_eq!(
            (status, &problem["param"]),
            (400, &json!("cursor")),
            "{problem}"
        );
        assert_eq!(problem["code"], "invalid_parameter");
    }
    // The endpoints for a single picture have the same cursors, in the address.
    let similar = format!("/v1/images/{id}/similar?limit=40");
    let first = world.get_json(&similar).await;
    let cursor = first["cursor"].as_str().unwrap();
    let second = world.get_json(&format!("{similar}&cursor={cursor}")).await;
    let [first, second] = [ids_of(&first), ids_of(&second)];
    assert!(second.len() == 40 && second.iter().all(|id| !first.contains(id)));
    let picture = std::fs::read(world.photos.join("some/3.jpg")).unwrap();
    let path = "/v1/search/image?limit=60";
    let (_, first) = world.post_bytes(path, picture.clone()).await;
    let cursor = first["cursor"].as_str().unwrap();
    let next = format!("{path}&cursor={cursor}");
    let (_, second) = world.post_bytes(&next, picture).await;
    let first = ids_of(&first);
    let second = ids_of(&second);
    assert!(!second.is_empty() && second.iter().all(|id| !first.contains(id)));
    let other = std::fs::read(world.photos.join("some/4.jpg")).unwrap();
    let (status, problem) = world.post_bytes(&next, other).await;
    assert_eq!(
        (status, &problem["param"]),
        (400, &json!("cursor")),
        "{problem}"
    );
}

async fn groups_fold_copies(world: &SystemWorld) {
    let id = id_at(world, "some/0.jpg").await;
    let content = json!({ "id": id, "group": "content", "limit": 20 });
    let content = search_hits(world, &content).await;
    let hits = content["hits"].as_array().unwrap();
    assert_eq!(hits.len(), 20, "groups count as one hit");
    let hashes: HashSet<&str> = hits
        .iter()
        .map(|hit| hit["content_hash"].as_str().unwrap())
        .collect();
    assert_eq!(hashes.len(), 20);
    let folded = hits.iter().find(|hit| !hit["folded"].is_null()).unwrap();
    assert_eq!(
        folded["folded"]["count"], 30,
        "the sample and its 30 copies"
    );
    assert_eq!(folded["folded"]["ids"].as_array().unwrap().len(), 30);

    let near = search_hits(world, &json!({ "id": id, "group": "near", "limit": 20 })).await;
    let first = &near["hits"][0];
    assert_eq!(first["band"], "same_picture");
    // 31 identical files, 5 variants and the turned copy.
    assert_eq!(first["folded"]["count"], 36, "{first}");
    let others = &near["hits"].as_array().unwrap()[1..];
    assert!(
        others
            .iter()
            .all(|hit| !hit["path"].as_str().unwrap().starts_with("copies/"))
    );
}

async fn relative_scores_cut_off(world: &SystemWorld) {
    let id = id_at(world, "some/5.jpg").await;
    let all = world
        .get_json(&format!("/v1/images/{id}/similar?limit=100"))
        .await;
    let scores = |answer: &Value| -> Vec<f64> {
        let hits = answer["hits"].as_array().unwrap().iter();
        hits.map(|hit| hit["score"].as_f64().unwrap()).collect()
    };
    let best = scores(&all).into_iter().fold(-1.0, f64::max);
    for share in [1.0, 0.8, 0.5] {
        let path = format!("/v1/images/{id}/similar?limit=100&relative_score={share}");
        let cut = scores(&world.get_json(&path).await);
        let expected = scores(&all)
            .into_iter()
            .filter(|score| *score >= share * best - 1e-6);
        assert_eq!(cut.len(), expected.count(), "{share}: {cut:?}");
    }
    let request = json!({ "id": id, "relative_score": 0.5 });
    let pages = read_pages(world, &request, 3).await;
    let whole = search_hits(
        world,
        &json!({ "id": id, "relative_score": 0.5, "limit": 100 }),
    )
    .await;
    assert_eq!(pages, ids_of(&whole));
    let path = format!("/v1/images/{id}/similar?relative_score=1.5");
    let refused = world.get_response(&path).await;
    assert_eq!(refused.status().as_u16(), 400);
}

async fn regions_are_pictures(world: &SystemWorld) {
    let id = id_at(world, "some/2.jpg").await;
    let right = json!({ "x": 0.5, "y": 0, "width": 0.5, "height": 1 });
    let by_id = search_hits(world, &json!({ "id": id, "region": right, "limit": 5 })).await;
    let (place, half) = hit_at(&by_id, "some/half.jpg").expect("the half is found");
    assert_eq!(
        (place, &half["band"]),
        (0, &json!("same_picture")),
        "{by_id}"
    );
    let picture = std::fs::read(world.photos.join("some/2.jpg")).unwrap();
    let path = "/v1/search/image?limit=5&region=0.5,0,0.5,1";
    let (_, by_upload) = world.post_bytes(path, picture.clone()).await;
    assert_eq!(ids_of(&by_upload), ids_of(&by_id));
    let path = format!("/v1/images/{id}/similar?limit=5&region=0.5,0,0.5,1");
    assert_eq!(ids_of(&world.get_json(&path).await)[0], half["id"]);
    let path = "/v1/search/image?region=0.5,0.5,0.001,0.001";
    let (status, problem) = world.post_bytes(path, picture).await;
    assert_eq!(
        (status, &problem["param"]),
        (400, &json!("region")),
        "{problem}"
    );
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("larger region"),
        "{problem}"
    );
}

async fn turned_copies_are_found(world: &SystemWorld) {
    let id = id_at(world, "some/1.jpg").await;
    let score = |answer: &Value| {
        let hit = hit_at(answer, "some/turned.jpg").expect("the turned copy is found");
        assert_eq!(hit.1["band"], "turned_copy");
        hit.1["score"].as_f64().unwrap()
    };
    let upright = search_hits(world, &json!({ "id": id, "limit": 100 })).await;
    let turned = json!({ "id": id, "limit": 100, "orientations": true });
    let turned = search_hits(world, &turned).await;
    assert!(
        score(&turned) > 0.99 && score(&upright) < 0.99,
        "{} {}",
        score(&turned),
        score(&upright)
    );
    let picture = std::fs::read(world.photos.join("some/1.jpg")).unwrap();
    let path = "/v1/search/image?limit=2&orientations=true";
    let (_, by_upload) = world.post_bytes(path, picture).await;
    assert_eq!(
        hit_at(&by_upload, "some/turned.jpg").map(|(place, _)| place),
        Some(1),
        "{by_upload}"
    );
    let (status, problem) = search(
        world,
        &json!({ "id": id, "text": "x", "orientations": true }),
    )
    .await;
    assert_eq!(
        (status, &problem["param"]),
        (400, &json!("orientations")),
        "{problem}"
    );
}

async fn pages_repeat_nothing_while_files_change(world: &SystemWorld) {
    let samples = sample_pictures();
    let id = id_at(world, "some/0.jpg").await;
    let mut seen = HashSet::new();
    let mut request = json!({ "id": id, "limit": 9, "consistency": "strong", "group": "content" });
    for number in 0..100 {
        let answer = search_hits(world, &request).await;
        for hit in answer["hits"].as_array().unwrap() {
            let folded = hit["folded"]["ids"].as_array().into_iter().flatten();
            for id in [&hit["id"]].into_iter().chain(folded) {
                assert!(
                    seen.insert(id.as_str().unwrap().to_owned()),
                    "{id} is repeated"
                );
            }
        }
        request["cursor"] = answer["cursor"].clone();
        if answer["cursor"].is_null() {
            break;
        }
        // A new picture, a removed one, and one with other content under the same id.
        world.copy_file(&samples[number % 50], &format!("new/{number}.jpg"));
        std::fs::remove_file(world.photos.join(format!("copies/{number}.jpg"))).unwrap();
        let edited = jpeg_variant(&std::fs::read(&samples[(number + 7) % 50]).unwrap(), number);
        std::fs::write(world.photos.join(format!("some/{number}.jpg")), edited).unwrap();
        world.assert_index_equals_folder().await;
    }
    assert!(request["cursor"].is_null(), "the pages have no end");
    assert!(seen.len() > 40, "{}", seen.len());
}

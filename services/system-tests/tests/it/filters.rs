//! Filters, facets and the attributes that they use: of files, folders and sidecars.

use serde_json::{Value, json};

use crate::harness::{SETTLE_TIMEOUT, SystemWorld, eventually, sample_pictures};

/// Encodes a filter for an address.
fn with_filter(path: &str, filter: &Value) -> String {
    let mut url = reqwest::Url::parse("http://host")
        .unwrap()
        .join(path)
        .unwrap();
    url.query_pairs_mut()
        .append_pair("filter", &filter.to_string());
    format!("{}?{}", url.path(), url.query().unwrap_or_default())
}

/// Returns the paths of the images that match, sorted.
async fn list_paths(world: &SystemWorld, filter: &Value) -> Vec<String> {
    let list = world
        .get_json(&with_filter("/v1/images?limit=100", filter))
        .await;
    let images = list["images"].as_array().unwrap();
    let path = |image: &Value| image["path"].as_str().unwrap().to_owned();
    let mut paths: Vec<String> = images.iter().map(path).collect();
    paths.sort();
    paths
}

async fn search_paths(world: &SystemWorld, id: &Value, filter: &Value) -> Vec<String> {
    let body = json!({ "id": id, "filter": filter, "limit": 100, "consistency": "strong" });
    let client = reqwest::Client::new();
    let request = client.post(format!("{}/v1/search", world.url)).json(&body);
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let answer: Value = response.json().await.unwrap();
    assert_eq!(status, 200, "{answer}");
    let hits = answer["hits"].as_array().unwrap();
    let path = |hit: &Value| hit["path"].as_str().unwrap().to_owned();
    let mut paths: Vec<String> = hits.iter().map(path).collect();
    paths.sort();
    paths
}

/// Waits until exactly these images match.
async fn wait_for_paths(world: &SystemWorld, filter: &Value, expected: &[&str]) {
    eventually("the filter finds the images", SETTLE_TIMEOUT, || async {
        let paths = list_paths(world, filter).await;
        match paths == expected {
            true => Ok(()),
            false => Err(format!("{filter}: {paths:?}, not {expected:?}")),
        }
    })
    .await;
}

async fn start_world() -> SystemWorld {
    let mut world = SystemWorld::new("filters");
    let samples = sample_pictures();
    world.copy_file(&samples[0], "shoes/red/a.jpg");
    world.copy_file(&samples[1], "shoes/b.jpg");
    world.copy_file(&samples[2], "hats/c.jpg");
    // The same content with other attributes.
    world.copy_file(&samples[2], "d.jpg");
    let sidecar =
        r#"{"tags": ["sale \"50%\""], "taken_at": "2021-06-05", "camera": "Canon EOS R5"}"#;
    std::fs::write(world.photos.join("shoes/b.jpg.json"), sidecar).unwrap();
    world.start_up().await;
    world.assert_index_equals_folder().await;
    world
}

#[tokio::test]
async fn filters_and_facets_use_all_attributes() {
    let mut world = start_world().await;
    let all = ["d.jpg", "hats/c.jpg", "shoes/b.jpg", "shoes/red/a.jpg"];
    let sale = json!({ "tags": "sale \"50%\"" });
    wait_for_paths(&world, &json!({}), &all).await;
    let anything = world.get_json("/v1/images?limit=1").await;
    let id = &anything["images"][0]["id"];
    for (filter, expected) in [
        (json!({ "folder": "shoes" }), &all[2..]),
        (
            json!({ "folder": { "in": ["hats/", "shoes/red/"] } }),
            &["hats/c.jpg", "shoes/red/a.jpg"],
        ),
        (json!({ "tags": { "all": ["shoes", "red"] } }), &all[3..]),
        (json!({ "tags": { "exists": false } }), &all[..1]),
        (sale.clone(), &all[2..3]),
        (
            json!({ "taken_at": { "gte": "2021-06-05", "lt": "2021-06-06" } }),
            &all[2..3],
        ),
        (
            json!({ "taken_at": "2021-06", "camera": { "prefix": "Canon" } }),
            &all[2..3],
        ),
        (json!({ "not": { "folder": "shoes" } }), &all[..2]),
        (
            json!({ "or": [{ "folder": "hats" }, sale.clone()], "format": "JPG" }),
            &all[1..3],
        ),
        (json!({ "format": "png" }), &[]),
        (json!({ "width": { "gte": 1 }, "library": "Photos" }), &all),
    ] {
        assert_eq!(list_paths(&world, &filter).await, expected, "{filter}");
        assert_eq!(
            search_paths(&world, id, &filter).await,
            expected,
            "{filter}"
        );
    }
    for (filter, status, param) in [
        (json!({ "format": "jpgg" }), 400, "filter.format"),
        (
            json!({ "or": [{ "colors": "Bluu" }] }),
            400,
            "filter.or[0].colors",
        ),
        (
            json!({ "not": { "library": "shop" } }),
            404,
            "filter.not.library",
        ),
    ] {
        let response = world
            .get_response(&with_filter("/v1/facets", &filter))
            .await;
        assert_eq!(response.status().as_u16(), status, "{filter}");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["param"], param, "{problem}");
    }

    let answer = world.get_json("/v1/facets?limit=2").await;
    assert_eq!(
        (&answer["images"], &answer["is_complete"]),
        (&json!(4), &json!(true))
    );
    let facets = &answer["facets"];
    assert_eq!(
        facets["library"]["values"],
        json!([{ "value": "photos", "count": 4 }])
    );
    assert_eq!(
        facets["format"]["values"],
        json!([{ "value": "jpeg", "count": 4 }])
    );
    assert_eq!(
        facets["folder"],
        json!({ "distinct": 3, "without": 1, "values": [
            { "value": "shoes/", "count": 2 }, { "value": "hats/", "count": 1 },
        ] })
    );
    assert_eq!(facets["tag"]["distinct"], 4);
    let shoes = with_filter(
        "/v1/facets?fields=month,camera",
        &json!({ "folder": "shoes" }),
    );
    let answer = world.get_json(&shoes).await;
    assert_eq!(
        answer["facets"]["month"]["values"],
        json!([{ "value": "2021-06", "count": 1 }])
    );
    assert_eq!(answer["facets"]["camera"]["without"], 1);
    assert!(answer["facets"]["tag"].is_null(), "{answer}");
    world.stop_up().await;
}

#[tokio::test]
async fn a_changed_sidecar_updates_rows_without_embedding() {
    let mut world = start_world().await;
    let file = |name: &str| world.photos.join(name);
    let embedded = world.read_metric("lookalike_embeddings_total").await;
    let sale = json!({ "tags": "sale \"50%\"" });
    wait_for_paths(&world, &sale, &["shoes/b.jpg"]).await;

    let sidecar = r#"{"tags": ["new"], "taken_at": "2022-01-01"}"#;
    std::fs::write(file("shoes/b.jpg.json"), sidecar).unwrap();
    wait_for_paths(
        &world,
        &json!({ "tags": "new", "taken_at": "2022" }),
        &["shoes/b.jpg"],
    )
    .await;
    wait_for_paths(&world, &sale, &[]).await;
    // One copy of a content has a sidecar.
    std::fs::write(file("d.json"), r#"{"keywords": "copy"}"#).unwrap();
    wait_for_paths(&world, &json!({ "tags": "copy" }), &["d.jpg"]).await;
    std::fs::rename(file("d.jpg"), file("hats/d.jpg")).unwrap();
    wait_for_paths(
        &world,
        &json!({ "tags": "hats" }),
        &["hats/c.jpg", "hats/d.jpg"],
    )
    .await;
    wait_for_paths(&world, &json!({ "tags": "copy" }), &[]).await;
    std::fs::remove_file(file("shoes/b.jpg.json")).unwrap();
    let without = json!({ "folder": "shoes", "taken_at": { "exists": false } });
    wait_for_paths(&world, &without, &["shoes/b.jpg", "shoes/red/a.jpg"]).await;

    world.assert_index_equals_folder().await;
    let now = world.read_metric("lookalike_embeddings_total").await;
    assert_eq!(now, embedded, "nothing was embedded again");
    world.stop_up().await;
}

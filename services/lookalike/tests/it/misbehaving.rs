//! Hubs, mirrors and networks that do what they should not: every failure ends, keeps what is worth
//! keeping, and says what to do.

use std::time::{Duration, Instant};

use crate::hub::{BodyMode, COMMIT, FakeHub, sha256_hex};
use crate::{Machine, random_bytes};

const MIB: usize = 1 << 20;

fn fetch_err(hub: &FakeHub) -> String {
    Machine::new(hub).run_err(1, &["models", "fetch", "resnet34"])
}

#[track_caller]
fn assert_contains(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}

#[test]
fn a_lie_about_the_checksum_is_found_out() {
    let hub = FakeHub::start(random_bytes(MIB, 1));
    hub.state().announced_sha256 = Some("ab".repeat(32));
    let machine = Machine::new(&hub);
    let said = machine.run_err(1, &["models", "fetch", "resnet34"]);
    assert_contains(
        &said,
        &[
            &sha256_hex(&random_bytes(MIB, 1)),
            &"ab".repeat(32),
            "thrown away",
        ],
    );
    let folder = machine.model_folder("resnet34").join(COMMIT);
    assert!(!folder.join("model.safetensors").exists());
    assert!(!folder.join("model.safetensors.part").exists());
    // Nobody takes it for fetched.
    let said = machine.run_err(1, &["models", "fetch", "resnet34", "--offline"]);
    assert_contains(
        &said,
        &[
            "nothing is downloaded with --offline",
            "lookalike models fetch resnet34",
        ],
    );
}

#[test]
fn weights_that_were_exchanged_are_refused_until_renewed() {
    let hub = FakeHub::start(random_bytes(MIB, 2));
    let machine = Machine::new(&hub);
    machine.run_ok(&["models", "fetch", "resnet34"]);
    // Lost, and meanwhile other weights lie under the same commit.
    let folder = machine.model_folder("resnet34").join(COMMIT);
    std::fs::remove_file(folder.join("model.safetensors")).unwrap();
    hub.state().file = random_bytes(MIB, 3);
    let said = machine.run_err(1, &["models", "fetch", "resnet34"]);
    assert_contains(
        &said,
        &[
            "exchanged",
            &sha256_hex(&random_bytes(MIB, 2)),
            &sha256_hex(&random_bytes(MIB, 3)),
            "--renew",
        ],
    );
    // Whoever means it says so; another commit is another folder, and the newest counts.
    hub.state().commit = Some("ffffffffffffffffffffffffffffffffffffffff");
    machine.run_ok(&["models", "fetch", "resnet34", "--renew"]);
    let listed = machine.run_ok(&["models", "list", "--json"]);
    assert_contains(&listed, &[&sha256_hex(&random_bytes(MIB, 3)), "ffffffff"]);
    assert!(machine.model_folder("resnet34").join(COMMIT).exists());
    let said = machine.run_err(2, &["models", "fetch", "resnet34", "--renew", "--offline"]);
    assert_contains(&said, &["--renew asks the hub"]);
}

#[test]
fn weights_that_were_changed_on_disk_are_refused() {
    let hub = FakeHub::start(random_bytes(MIB, 4));
    let machine = Machine::new(&hub);
    machine.run_ok(&["models", "fetch", "resnet34"]);
    let file = machine
        .model_folder("resnet34")
        .join(COMMIT)
        .join("model.safetensors");
    let mut changed = random_bytes(MIB, 4);
    changed[77] ^= 1;
    std::fs::write(&file, &changed).unwrap();
    for words in [
        &["models", "fetch", "resnet34"][..],
        &["models", "fetch", "resnet34", "--offline"],
    ] {
        let said = machine.run_err(1, words);
        assert_contains(
            &said,
            &[&sha256_hex(&changed), "changed after that, or damaged"],
        );
    }
    std::fs::write(&file, &changed[1..]).unwrap();
    assert_contains(
        &machine.run_err(1, &["models", "fetch", "resnet34"]),
        &["has 1048575 bytes, and had 1048576"],
    );
    assert_contains(&machine.run_ok(&["models"]), &["ALTERED"]);
    // The lock is checked against what lookalike says, where that says anything.
    let pinned = machine
        .model_folder("vit-s16")
        .join("7e2c55630205e1266030f18370f4c6ed1a514b52");
    std::fs::create_dir_all(&pinned).unwrap();
    let lock = std::fs::read_to_string(file.with_file_name("model.lock.json")).unwrap();
    std::fs::write(pinned.join("model.lock.json"), lock).unwrap();
    if machine.run_ok(&["models"]).contains("vit-s16") {
        assert_contains(
            &machine.run_err(1, &["models", "fetch", "vit-s16"]),
            &["other checksums than lookalike does"],
        );
    }
}

#[test]
fn the_file_changes_between_two_parts() {
    let hub = FakeHub::start(random_bytes(MIB, 5));
    hub.state().announced_sha256 = Some(sha256_hex(&random_bytes(MIB, 5)));
    hub.state().body_modes = vec![BodyMode::Cut(400_000), BodyMode::Silent];
    let machine = Machine::new(&hub);
    machine.run_err(1, &["models", "fetch", "resnet34"]);
    // If-Range tells that it is another one: it comes whole, and is not what was announced.
    hub.state().file = random_bytes(MIB, 6);
    hub.state().body_modes = vec![BodyMode::Normal];
    let said = machine.run_err(1, &["models", "fetch", "resnet34"]);
    assert_contains(&said, &[&sha256_hex(&random_bytes(MIB, 6)), "thrown away"]);
}

#[test]
fn refusals_say_what_to_do() {
    let hub = FakeHub::start(random_bytes(MIB, 7));
    for (status, parts) in [
        (404, &["the hub has no", "HF_ENDPOINT"][..]),
        (401, &["refuses", "HF_TOKEN"]),
        (403, &["refuses", "HF_TOKEN"]),
        (407, &["the proxy wants to know who you are"]),
        (418, &["not answered as the hub does", "418"]),
    ] {
        hub.state().hub_responses = vec![(status, "")];
        let begun = Instant::now();
        assert_contains(&fetch_err(&hub), parts);
        assert!(begun.elapsed() < Duration::from_secs(5), "{status}");
    }
    let machine = Machine::new(&hub).with_env("HF_TOKEN", "hf_wrong");
    hub.state().hub_responses = vec![(401, "")];
    let said = machine.run_err(1, &["models", "fetch", "resnet34"]);
    assert_contains(&said, &["the token in HF_TOKEN may not read it"]);
    assert!(!said.contains("hf_wrong"), "{said}");
}

#[test]
fn what_may_pass_is_waited_for() {
    let hub = FakeHub::start(random_bytes(MIB, 8));
    hub.state().hub_responses = vec![(503, ""), (429, "retry-after: 0\r\n"), (500, "")];
    hub.state().body_modes = vec![
        BodyMode::Status(502, ""),
        BodyMode::Silent,
        BodyMode::WrongRange,
        BodyMode::Normal,
    ];
    Machine::new(&hub).run_ok(&["models", "fetch", "resnet34"]);
    // But not for ever, and not longer than is bearable.
    hub.state().hub_responses = vec![(503, ""); 20];
    let said = fetch_err(&hub);
    assert_contains(&said, &["after 4 attempts", "503"]);
    assert!(!said.contains("goes on there"), "nothing is here: {said}");
    hub.state().hub_responses = vec![(429, "retry-after: 3600\r\n"); 20];
    assert_contains(&fetch_err(&hub), &["wait for 3600 s", "HF_TOKEN"]);
}

#[test]
fn one_that_never_answers_is_given_up() {
    let hub = FakeHub::start(random_bytes(MIB, 9));
    hub.state().body_modes = vec![BodyMode::Silent];
    let begun = Instant::now();
    assert_contains(&fetch_err(&hub), &["no answer within 500ms", "HTTPS_PROXY"]);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn nobody_there() {
    let hub = FakeHub::start(Vec::new());
    let mut machine = Machine::new(&hub);
    // A port that nobody listens on.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    machine.hub = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let said = machine.run_err(1, &["models", "fetch", "resnet34"]);
    assert_contains(&said, &["no connection", "Check the network and the proxy"]);
    machine.hub = "huggingface.co".to_owned();
    let said = machine.run_err(2, &["models", "fetch", "resnet34"]);
    assert_contains(&said, &["models.hub (HF_ENDPOINT) is no address"]);
}

#[test]
fn sizes_have_limits() {
    let hub = FakeHub::start(random_bytes(MIB, 10));
    let machine = Machine::new(&hub).with_env("LOOKALIKE_MODELS_MAX_FILE_BYTES", "1000KiB");
    let said = machine.run_err(1, &["models", "fetch", "resnet34"]);
    assert_contains(&said, &["1.00 MiB long", "models.max_file_bytes"]);
    assert!(hub.requested_ranges().is_empty());
    // One that sends more or less than it announces.
    for bytes in [MIB as u64 - 1, MIB as u64 + 1] {
        hub.state().announced_bytes = Some(bytes);
        assert_contains(
            &fetch_err(&hub),
            &[&format!("sends 1048576 bytes instead of {bytes}")],
        );
    }
}

#[test]
fn what_is_no_hub_is_told() {
    let hub = FakeHub::start(random_bytes(MIB, 11));
    hub.state().announces_nothing = true;
    assert_contains(
        &fetch_err(&hub),
        &["X-Repo-Commit", "is HF_ENDPOINT a Hugging Face hub"],
    );
    hub.state().announces_nothing = false;
    // A commit becomes a folder's name: nothing but hexadecimal digits will do.
    hub.state().commit = Some("../../../../../../../../tmp/0123456789ab");
    assert_contains(&fetch_err(&hub), &["names no commit"]);
    hub.state().commit = None;
    hub.state().announced_sha256 = Some("W/abc".to_owned());
    assert_contains(&fetch_err(&hub), &["names no SHA-256"]);
    hub.state().announced_sha256 = None;
    hub.state().hub_responses = vec![(302, "location: /round/and/round\r\n"); 40];
    assert_contains(&fetch_err(&hub), &["more redirects"]);
}

#[test]
fn a_folder_that_can_not_be_written_is_told() {
    let hub = FakeHub::start(random_bytes(MIB, 12));
    let machine = Machine::new(&hub);
    std::fs::create_dir_all(machine.folder.path().join("cache")).unwrap();
    std::fs::write(machine.folder.path().join("cache/models"), "a file").unwrap();
    let said = machine.run_err(1, &["models", "fetch", "resnet34"]);
    assert_contains(&said, &["cache/models"]);
    // A disk that is full says so, whatever it is that does not fit.
    if std::path::Path::new("/dev/full").exists() {
        let machine = Machine::new(&hub);
        let folder = machine.model_folder("resnet34").join(COMMIT);
        std::fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink("/dev/full", folder.join("model.safetensors.part")).unwrap();
        let said = machine.run_err(1, &["models", "fetch", "resnet34"]);
        assert_contains(&said, &["the disk is full", "servers.cache_dir"]);
    }
}

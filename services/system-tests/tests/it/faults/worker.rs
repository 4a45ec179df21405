//! Faults of embedders. `roles.rs` tests one that is killed in the middle of work, and a file that kills
//! it.

use std::fs;

use crate::harness::{SETTLE_TIMEOUT, SystemWorld, Wire, eventually};

#[tokio::test]
async fn a_worker_frozen_past_its_ack_deadline_never_overwrites() {
    let mut world = SystemWorld::new("frozen");
    world.set_variable("LOOKALIKE_NATS_ACK_WAIT", "2s");
    world.set_variable("LOOKALIKE_WATCH_OVERDUE_TIMEOUT", "3s");
    // The writes of the slow worker arrive late: it has read the files, and its Milvus is slow.
    let shared = world.milvus_url.clone();
    let wire = world.proxy_milvus();
    let mut slow = world.start_role("embed");
    slow.read_address("metrics=").await;
    world.milvus_url = shared;
    let watch = world.start_role("watch");
    let serve = world.start_role("serve");
    world.url = serve.read_address("address=").await;
    wire.set_wire(Wire::Slow(std::time::Duration::from_millis(400)));
    world.add_pictures("", 20);
    let jetstream = world.jetstream();
    eventually("the slow one has taken all", SETTLE_TIMEOUT, || async {
        let in_flight = jetstream.count_in_flight().await;
        (in_flight == 20).then_some(()).ok_or(in_flight.to_string())
    })
    .await;
    slow.freeze_process();

    // Another worker does the same work; then files change, and it processes the changes.
    let mut quick = world.start_command(world.role_command("embed"), "quick");
    world.assert_index_equals_folder().await;
    let at = |path: &str| world.photos.join(path);
    for number in 0..5 {
        let other = fs::read(at(&format!("{}.jpg", number + 10))).unwrap();
        fs::write(at(&format!("{number}.jpg")), other).unwrap();
        fs::remove_file(at(&format!("{}.jpg", number + 5))).unwrap();
        fs::rename(
            at(&format!("{}.jpg", number + 10)),
            at(&format!("moved {number}.jpg")),
        )
        .unwrap();
    }
    world.assert_index_equals_folder().await;
    let rows = world.read_rows().await;
    assert_eq!(rows.len(), 15);

    // The frozen worker resumes as if no time had passed.
    slow.resume_process();
    wire.set_wire(Wire::Intact);
    slow.terminate_cleanly().await;
    world.assert_index_equals_folder().await;
    let after = world.read_rows().await;
    assert!(rows.keys().eq(after.keys()), "{rows:?}\n{after:?}");
    quick.terminate_cleanly().await;
    drop((watch, serve));
}

#[tokio::test]
async fn workers_killed_again_and_again_in_the_middle_of_a_batch() {
    let mut world = SystemWorld::new("killed-workers");
    world.set_variable("LOOKALIKE_NATS_ACK_WAIT", "2s");
    world.set_variable("LOOKALIKE_MILVUS_UPSERT_ROWS", "4");
    let wire = world.proxy_milvus();
    let mut roles = world.start_roles().await;
    roles.embed.read_address("metrics=").await;
    world.add_pictures("", 60);
    let jetstream = world.jetstream();
    for round in 0..3 {
        wire.set_wire(Wire::Slow(std::time::Duration::from_millis(20)));
        eventually("it holds some", SETTLE_TIMEOUT, || async {
            let in_flight = jetstream.count_in_flight().await;
            (in_flight > 0).then_some(()).ok_or(in_flight.to_string())
        })
        .await;
        roles.embed.kill_process();
        fs::remove_file(world.photos.join(format!("{round}.jpg"))).unwrap();
        world.add_pictures(&format!("round {round}"), 5);
        roles.embed = world.start_role("embed");
        roles.embed.read_address("metrics=").await;
    }
    wire.set_wire(Wire::Intact);
    world.assert_index_equals_folder().await;
    assert_eq!(world.read_rows().await.len(), 57 + 15);
    roles.stop_roles().await;
}

#[tokio::test]
async fn a_worker_with_an_old_model_is_refused_next_to_the_new_ones() {
    let mut world = SystemWorld::with_up("models").await;
    world.add_pictures("", 3);
    world.assert_index_equals_folder().await;
    let rows = world.read_rows().await;
    // The same network in another version: only its description differs.
    let bundled =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../vision/models/lookalike-mini");
    let folder = world.dir.path().join("lookalike-mini");
    fs::create_dir(&folder).unwrap();
    for file in ["lookalike-mini.json", "lookalike-mini.safetensors"] {
        fs::copy(bundled.join(file), folder.join(file)).unwrap();
    }
    let description = fs::read_to_string(folder.join("lookalike-mini.json")).unwrap();
    let other = description.replace("\"resize_short_side\": 146", "\"resize_short_side\": 150");
    assert_ne!(description, other);
    fs::write(folder.join("lookalike-mini.json"), other).unwrap();
    let mut command = world.role_command("embed");
    command.arg("--model").arg(&folder);
    let mut old = world.start_command(command, "old");
    let status = old.wait_for_exit().await;
    assert_eq!(status.code(), Some(2), "{}", old.log());
    world.add_pictures("more", 3);
    world.assert_index_equals_folder().await;
    let after = world.read_rows().await;
    assert!(rows.iter().all(|(id, row)| after.get(id) == Some(row)));
    world.stop_up().await;
}

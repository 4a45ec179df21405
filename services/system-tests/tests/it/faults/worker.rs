//! Faults of embedders. That one is killed in the middle is in `roles.rs`, and that a file kills
//! it as well.

use std::fs;

use crate::harness::{PATIENCE, Wire, World, eventually};

#[tokio::test]
async fn a_worker_frozen_past_its_time_never_has_the_last_word() {
    let mut world = World::new("frozen");
    world.set("LOOKALIKE_NATS_ACK_WAIT", "2s");
    world.set("LOOKALIKE_WATCH_OVERDUE", "3s");
    // What the slow one writes arrives late: it has read the files, and stands before Milvus.
    let shared = world.milvus_url.clone();
    let wire = world.proxy_milvus();
    let mut slow = world.role("embed");
    slow.address("metrics=").await;
    world.milvus_url = shared;
    let watch = world.role("watch");
    let serve = world.role("serve");
    world.url = serve.address("address=").await;
    wire.set(Wire::Slow(std::time::Duration::from_millis(400)));
    world.fill("", 20);
    let jetstream = world.jetstream();
    eventually("the slow one has taken all", PATIENCE, || async {
        let held = jetstream.in_hand().await;
        (held == 20).then_some(()).ok_or(held.to_string())
    })
    .await;
    slow.freeze();

    // Another one does the same work, and then files change and it does that.
    let mut quick = world.run(world.command("embed"), "quick");
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
    let rows = world.rows().await;
    assert_eq!(rows.len(), 15);

    // The frozen one wakes up, and goes on as if no time had passed.
    slow.wake();
    wire.set(Wire::Whole);
    slow.terminate().await;
    world.assert_index_equals_folder().await;
    let after = world.rows().await;
    assert!(rows.keys().eq(after.keys()), "{rows:?}\n{after:?}");
    quick.terminate().await;
    drop((watch, serve));
}

#[tokio::test]
async fn workers_killed_again_and_again_in_the_middle_of_a_batch() {
    let mut world = World::new("killed-workers");
    world.set("LOOKALIKE_NATS_ACK_WAIT", "2s");
    world.set("LOOKALIKE_MILVUS_UPSERT_ROWS", "4");
    let wire = world.proxy_milvus();
    let mut roles = world.start_roles().await;
    roles.embed.address("metrics=").await;
    world.fill("", 60);
    let jetstream = world.jetstream();
    for round in 0..3 {
        wire.set(Wire::Slow(std::time::Duration::from_millis(20)));
        eventually("it holds some", PATIENCE, || async {
            let held = jetstream.in_hand().await;
            (held > 0).then_some(()).ok_or(held.to_string())
        })
        .await;
        roles.embed.kill();
        fs::remove_file(world.photos.join(format!("{round}.jpg"))).unwrap();
        world.fill(&format!("round {round}"), 5);
        roles.embed = world.role("embed");
        roles.embed.address("metrics=").await;
    }
    wire.set(Wire::Whole);
    world.assert_index_equals_folder().await;
    assert_eq!(world.rows().await.len(), 57 + 15);
    roles.stop().await;
}

#[tokio::test]
async fn an_old_models_worker_is_refused_beside_the_new_ones() {
    let mut world = World::started("models").await;
    world.fill("", 3);
    world.assert_index_equals_folder().await;
    let rows = world.rows().await;
    // The same network of another version: only its description differs.
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
    let mut command = world.command("embed");
    command.arg("--model").arg(&folder);
    let mut old = world.run(command, "old");
    let status = old.end().await;
    assert_eq!(status.code(), Some(2), "{}", old.log());
    world.fill("more", 3);
    world.assert_index_equals_folder().await;
    let after = world.rows().await;
    assert!(rows.iter().all(|(id, row)| after.get(id) == Some(row)));
    world.stop().await;
}

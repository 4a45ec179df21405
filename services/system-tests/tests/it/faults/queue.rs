//! Faults of the queue: messages are lost, duplicated, late, or too many.

use std::fs;

use lookalike_servers::{Servers, WantedServers};

use crate::harness::{
    RoleProcesses, SETTLE_TIMEOUT, SystemWorld, Wire, copy_folder, eventually, start_servers,
};

const NATS_ONLY: WantedServers = WantedServers {
    nats: true,
    milvus: false,
};

/// Creates a world with short timeouts, so that lost messages are noticed soon.
fn world_with_short_timeouts(name: &str) -> SystemWorld {
    let mut world = SystemWorld::new(name);
    world.set_variable("LOOKALIKE_WATCH_OVERDUE_TIMEOUT", "2s");
    world.set_variable("LOOKALIKE_NATS_ACK_WAIT", "2s");
    world.set_variable("LOOKALIKE_NATS_CALL_TIMEOUT", "1s");
    world
}

/// Waits until the stream contains so many events.
async fn wait_for_stored_events(world: &SystemWorld, count: u64) {
    let jetstream = world.jetstream();
    let events = jetstream.events_stream();
    eventually(
        &format!("{count} events are stored"),
        SETTLE_TIMEOUT,
        || async {
            let stored = jetstream.count_messages(&events).await;
            (stored >= count).then_some(()).ok_or(stored.to_string())
        },
    )
    .await;
}

/// Starts watcher and service without an embedder, so that events stay in the queue.
async fn without_embedder(world: &mut SystemWorld) -> RoleProcesses {
    let mut roles = world.start_roles().await;
    // A watcher with an empty catalog requests the existing rows from an embedder before it sends
    // anything.
    world.add_pictures("before", 1);
    world.assert_index_equals_folder().await;
    roles.embed.kill_process();
    roles
}

#[tokio::test]
async fn a_server_that_lost_its_tail_or_everything() {
    let mut world = world_with_short_timeouts("tail");
    let data = world.dir.path().join("own");
    let mut servers = start_servers(&data, NATS_ONLY).await;
    world.own_nats_url = servers.nats_url().map(str::to_owned);
    let store = data.join("nats/jetstream");
    let copy = world.dir.path().join("copy");
    let mut roles = without_embedder(&mut world).await;

    // Ten events are on the server's disk. Ten more were acknowledged to the watcher, but not yet on
    // the disk when the machine died.
    world.add_pictures("first", 10);
    wait_for_stored_events(&world, 10).await;
    servers.kill_nats().await;
    copy_folder(&store, &copy);
    servers.restart_nats().await.unwrap();
    world.add_pictures("second", 10);
    wait_for_stored_events(&world, 20).await;
    servers.kill_nats().await;
    copy_folder(&copy, &store);
    servers.restart_nats().await.unwrap();
    let jetstream = world.jetstream();
    assert_eq!(
        jetstream.count_messages(&jetstream.events_stream()).await,
        10
    );
    roles.embed = world.start_role("embed");
    world.assert_index_equals_folder().await;

    // The same with outcomes that the watcher has read already.
    world.add_pictures("third", 10);
    fs::remove_dir_all(world.photos.join("first")).unwrap();
    world.assert_index_equals_folder().await;
    servers.kill_nats().await;
    copy_folder(&copy, &store);
    world.add_pictures("fourth", 3);
    fs::remove_dir_all(world.photos.join("second")).unwrap();
    servers.restart_nats().await.unwrap();
    world.assert_index_equals_folder().await;

    // The messages are lost, but not the position of the workers' consumer: the stream reuses
    // sequence numbers below it. The last event is alone, so nothing else is overdue soon after it.
    let events = store.join(format!(
        "jetstream/$G/streams/{}/msgs",
        jetstream.events_stream()
    ));
    for (folder, count) in [("afterwards", 5), ("alone", 1)] {
        servers.kill_nats().await;
        fs::remove_dir_all(&events).unwrap();
        servers.restart_nats().await.unwrap();
        world.add_pictures(folder, count);
        world.assert_index_equals_folder().await;
    }
    fs::remove_dir_all(world.photos.join("third")).unwrap();
    world.assert_index_equals_folder().await;

    // Killed in the middle of work, and its disk is lost.
    world.add_pictures("fifth", 30);
    wait_for_stored_events(&world, 1).await;
    servers.kill_nats().await;
    fs::remove_dir_all(&store).unwrap();
    world.add_pictures("sixth", 3);
    servers.restart_nats().await.unwrap();
    world.assert_index_equals_folder().await;
    assert_eq!(world.read_rows().await.len(), 43);
    roles.stop_roles().await;
}

/// Does what `up` does for its own nats-server: a stream that is created while one of the same name is
/// being deleted may lose its folder to the deletion, and then rejects writes until a restart.
async fn restart_when_stuck(servers: &mut Servers) {
    loop {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        if let Some(reason) = servers.nats_stuck_reason().await {
            eprintln!("nats-server is started again: {reason}");
            servers.restart_nats().await.unwrap();
        }
    }
}

#[tokio::test]
async fn streams_deleted_and_a_consumer() {
    let mut world = world_with_short_timeouts("streams");
    let mut servers = start_servers(&world.dir.path().join("own"), NATS_ONLY).await;
    world.own_nats_url = servers.nats_url().map(str::to_owned);
    let mut roles = without_embedder(&mut world).await;
    let jetstream = world.jetstream();
    // Events that no worker has received.
    world.add_pictures("first", 10);
    wait_for_stored_events(&world, 10).await;
    jetstream.delete_stream(&jetstream.events_stream()).await;
    roles.embed = world.start_role("embed");
    tokio::select! {
        () = world.assert_index_equals_folder() => {}
        () = restart_when_stuck(&mut servers) => {}
    }

    // Outcomes that the watcher has not read, and the consumer of a running worker.
    roles.watch.freeze_process();
    world.add_pictures("second", 10);
    roles.watch.resume_process();
    wait_for_stored_events(&world, 1).await;
    roles.watch.freeze_process();
    eventually("all are done", SETTLE_TIMEOUT, || async {
        let waiting = jetstream.count_messages(&jetstream.events_stream()).await;
        (waiting == 0).then_some(()).ok_or(waiting.to_string())
    })
    .await;
    jetstream.delete_stream(&jetstream.outcomes_stream()).await;
    jetstream.delete_consumer().await;
    world.add_pictures("third", 10);
    roles.watch.resume_process();
    tokio::select! {
        () = world.assert_index_equals_folder() => {}
        () = restart_when_stuck(&mut servers) => {}
    }

    // Both at once, in the middle of work.
    world.add_pictures("fourth", 40);
    fs::remove_dir_all(world.photos.join("second")).unwrap();
    wait_for_stored_events(&world, 1).await;
    jetstream.delete_stream(&jetstream.outcomes_stream()).await;
    jetstream.delete_stream(&jetstream.events_stream()).await;
    tokio::select! {
        () = world.assert_index_equals_folder() => {}
        () = restart_when_stuck(&mut servers) => {}
    }
    assert_eq!(world.read_rows().await.len(), 61);
    roles.stop_roles().await;
}

#[tokio::test]
async fn a_full_stream_holds_the_watcher_back_and_loses_nothing() {
    let mut world = world_with_short_timeouts("full");
    world.set_variable("LOOKALIKE_NATS_MAX_EVENTS_BYTES", "16KiB");
    let mut roles = without_embedder(&mut world).await;
    world.add_pictures("", 200);
    roles
        .watch
        .wait_for_log("the stream of events is full")
        .await;
    fs::remove_file(world.photos.join("0.jpg")).unwrap();
    fs::rename(world.photos.join("1.jpg"), world.photos.join("moved.jpg")).unwrap();
    let stats = world
        .wait_for_stats("all are seen", |stats| stats["on_disk"] == 200)
        .await;
    assert!(stats["in_flight"].as_u64() > Some(150), "{stats}");
    roles.embed = world.start_role("embed");
    world.assert_index_equals_folder().await;
    assert_eq!(world.read_rows().await.len(), 200);
    roles.stop_roles().await;
}

#[tokio::test]
async fn stored_but_the_answer_lost() {
    let mut world = world_with_short_timeouts("answers");
    let wire = world.proxy_nats();
    let mut roles = without_embedder(&mut world).await;
    // The watcher's messages are stored, but it receives no acknowledgement.
    wire.set_wire(Wire::Answerless);
    world.add_pictures("first", 10);
    wait_for_stored_events(&world, 1).await;
    fs::remove_file(world.photos.join("first/0.jpg")).unwrap();
    world.add_pictures("second", 5);
    roles.watch.wait_for_log("trying again").await;
    wire.set_wire(Wire::Intact);
    // A worker whose acknowledgements, outcomes and requests are lost.
    roles.embed = world.start_role("embed");
    for round in 0..3 {
        world.add_pictures(&format!("round {round}"), 10);
        let lost = wire.lost_count();
        wire.set_wire(if round % 2 == 0 {
            Wire::Answerless
        } else {
            Wire::HalfOpen
        });
        eventually("something is lost", SETTLE_TIMEOUT, || async {
            (wire.lost_count() > lost)
                .then_some(())
                .ok_or("nothing".into())
        })
        .await;
        fs::remove_file(world.photos.join(format!("round {round}/3.jpg"))).unwrap();
        wire.set_wire(Wire::Intact);
        world.assert_index_equals_folder().await;
    }
    assert_eq!(world.read_rows().await.len(), 1 + 14 + 3 * 9);
    roles.stop_roles().await;
}

#[tokio::test]
async fn an_old_message_after_a_newer_one_changes_nothing() {
    let mut world = world_with_short_timeouts("stale");
    let mut roles = without_embedder(&mut world).await;
    world.add_pictures("", 6);
    wait_for_stored_events(&world, 6).await;
    let jetstream = world.jetstream();
    let old = jetstream.waiting_events().await;
    assert_eq!(old.len(), 6);
    roles.embed = world.start_role("embed");
    world.assert_index_equals_folder().await;
    // Edited, moved, deleted, restored, and unchanged.
    let at = |path: &str| world.photos.join(path);
    let first = fs::read(at("0.jpg")).unwrap();
    fs::write(at("0.jpg"), fs::read(at("1.jpg")).unwrap()).unwrap();
    fs::rename(at("2.jpg"), at("moved.jpg")).unwrap();
    fs::remove_file(at("3.jpg")).unwrap();
    fs::write(at("4.jpg"), &first).unwrap();
    world.assert_index_equals_folder().await;
    let rows = world.read_rows().await;
    for (subject, bytes) in old.iter().chain(&old) {
        jetstream.publish_message(subject, bytes).await;
    }
    eventually("all are answered", SETTLE_TIMEOUT, || async {
        let waiting = jetstream.count_messages(&jetstream.events_stream()).await;
        (waiting == 0).then_some(()).ok_or(waiting.to_string())
    })
    .await;
    world.assert_index_equals_folder().await;
    let after = world.read_rows().await;
    assert!(rows.keys().eq(after.keys()), "{rows:?}\n{after:?}");
    // Invalid messages are removed.
    let subject = &old[0].0;
    jetstream.publish_message(subject, b"no event").await;
    jetstream.publish_message(subject, b"").await;
    world.add_pictures("after", 3);
    world.assert_index_equals_folder().await;
    eventually("they are removed", SETTLE_TIMEOUT, || async {
        let waiting = jetstream.count_messages(&jetstream.events_stream()).await;
        (waiting == 0).then_some(()).ok_or(waiting.to_string())
    })
    .await;
    roles.stop_roles().await;
}

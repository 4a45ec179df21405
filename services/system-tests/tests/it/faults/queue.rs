//! Faults of the queue: what it says may be lost, doubled, late, or too much.

use std::fs;
use std::path::Path;
use std::process::Command;

use lookalike_servers::{Servers, WantedServers};

use crate::harness::{RoleProcesses, SETTLE_TIMEOUT, SystemWorld, Wire, eventually, start_servers};

const NATS_ONLY: WantedServers = WantedServers {
    nats: true,
    milvus: false,
};

/// Short times, so that what was lost is missed soon.
fn world_with_short_timeouts(name: &str) -> SystemWorld {
    let mut world = SystemWorld::new(name);
    world.set_variable("LOOKALIKE_WATCH_OVERDUE", "2s");
    world.set_variable("LOOKALIKE_NATS_ACK_WAIT", "2s");
    world.set_variable("LOOKALIKE_NATS_CALL_TIMEOUT", "1s");
    world
}

/// Waits until so many events are in the stream.
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

/// Watcher and service, and no embedder: events stay in the queue.
async fn without_embedder(world: &mut SystemWorld) -> RoleProcesses {
    let mut roles = world.start_roles().await;
    // A watcher with an empty catalog asks embedders for the rows that there are before it sends
    // anything.
    world.add_pictures("before", 1);
    world.assert_index_equals_folder().await;
    roles.embed.kill_process();
    roles
}

fn copy_folder(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let status = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(status.unwrap().success());
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

    // Ten events are on its disk; ten more were stored, and acknowledged to the watcher, and
    // were not on the disk yet when the machine died.
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

    // The same with outcomes that the watcher has read: the tail is of an older time.
    world.add_pictures("third", 10);
    fs::remove_dir_all(world.photos.join("first")).unwrap();
    world.assert_index_equals_folder().await;
    servers.kill_nats().await;
    copy_folder(&copy, &store);
    world.add_pictures("fourth", 3);
    fs::remove_dir_all(world.photos.join("second")).unwrap();
    servers.restart_nats().await.unwrap();
    world.assert_index_equals_folder().await;

    // The messages are lost, and not how far the workers' consumer was: the stream counts anew
    // from below that.
    servers.kill_nats().await;
    let events = store.join(format!(
        "jetstream/$G/streams/{}/msgs",
        jetstream.events_stream()
    ));
    fs::remove_dir_all(&events).unwrap();
    servers.restart_nats().await.unwrap();
    world.add_pictures("afterwards", 5);
    fs::remove_dir_all(world.photos.join("third")).unwrap();
    world.assert_index_equals_folder().await;

    // Killed in the middle of work, and its disk with it.
    world.add_pictures("fifth", 30);
    wait_for_stored_events(&world, 1).await;
    servers.kill_nats().await;
    fs::remove_dir_all(&store).unwrap();
    world.add_pictures("sixth", 3);
    servers.restart_nats().await.unwrap();
    world.assert_index_equals_folder().await;
    assert_eq!(world.read_rows().await.len(), 42);
    roles.stop_roles().await;
}

/// As `up` does with its own nats-server. A stream that is made again at the very moment at which
/// one of its name is deleted may lose its folder to that deletion, and takes nothing then.
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
    // Events that nobody had begun with.
    world.add_pictures("first", 10);
    wait_for_stored_events(&world, 10).await;
    jetstream.delete_stream(&jetstream.events_stream()).await;
    roles.embed = world.start_role("embed");
    tokio::select! {
        () = world.assert_index_equals_folder() => {}
        () = restart_when_stuck(&mut servers) => {}
    }

    // Outcomes that nobody had read; and the consumer under a worker's hands.
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

    // Both at once, in the middle.
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
    world.set_variable("LOOKALIKE_NATS_EVENTS_MAX_BYTES", "16KiB");
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
    // What the watcher publishes arrives, and it does not hear so.
    wire.set_wire(Wire::Answerless);
    world.add_pictures("first", 10);
    wait_for_stored_events(&world, 1).await;
    fs::remove_file(world.photos.join("first/0.jpg")).unwrap();
    world.add_pictures("second", 5);
    roles.watch.wait_for_log("trying again").await;
    wire.set_wire(Wire::Intact);
    // A worker whose acknowledgements are lost, and its outcomes, and whatever it asks for.
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
    // Edited, moved, deleted, put back as it was, and left alone.
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
    // What is no message at all is put away.
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

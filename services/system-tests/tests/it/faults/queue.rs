//! Faults of the queue: what it says may be lost, doubled, late, or too much.

use std::fs;
use std::path::Path;
use std::process::Command;

use lookalike_servers::{Servers, Wanted};

use crate::harness::{PATIENCE, Roles, Wire, World, eventually, own_servers};

const NATS_ONLY: Wanted = Wanted {
    nats: true,
    milvus: false,
};

/// Short times, so that what was lost is missed soon.
fn impatient(name: &str) -> World {
    let mut world = World::new(name);
    world.set("LOOKALIKE_WATCH_OVERDUE", "2s");
    world.set("LOOKALIKE_NATS_ACK_WAIT", "2s");
    world.set("LOOKALIKE_NATS_CALL_TIMEOUT", "1s");
    world
}

/// Waits until so many events are in the stream.
async fn stored(world: &World, count: u64) {
    let jetstream = world.jetstream();
    let events = jetstream.events();
    eventually(&format!("{count} events are stored"), PATIENCE, || async {
        let stored = jetstream.messages(&events).await;
        (stored >= count).then_some(()).ok_or(stored.to_string())
    })
    .await;
}

/// Watcher and service, and no embedder: events stay in the queue.
async fn without_embedder(world: &mut World) -> Roles {
    let mut roles = world.start_roles().await;
    // A watcher with an empty catalog asks embedders for the rows that there are before it sends
    // anything.
    world.fill("before", 1);
    world.assert_index_equals_folder().await;
    roles.embed.kill();
    roles
}

fn copy_folder(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let status = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(status.unwrap().success());
}

#[tokio::test]
async fn a_server_that_lost_its_tail_or_everything() {
    let mut world = impatient("tail");
    let data = world.dir.path().join("own");
    let mut servers = own_servers(&data, NATS_ONLY).await;
    world.own_nats_url = servers.nats_url().map(str::to_owned);
    let store = data.join("nats/jetstream");
    let copy = world.dir.path().join("copy");
    let mut roles = without_embedder(&mut world).await;

    // Ten events are on its disk; ten more were stored, and acknowledged to the watcher, and
    // were not on the disk yet when the machine died.
    world.fill("first", 10);
    stored(&world, 10).await;
    servers.kill_nats().await;
    copy_folder(&store, &copy);
    servers.restart_nats().await.unwrap();
    world.fill("second", 10);
    stored(&world, 20).await;
    servers.kill_nats().await;
    copy_folder(&copy, &store);
    servers.restart_nats().await.unwrap();
    let jetstream = world.jetstream();
    assert_eq!(jetstream.messages(&jetstream.events()).await, 10);
    roles.embed = world.role("embed");
    world.assert_index_equals_folder().await;

    // The same with outcomes that the watcher has read: the tail is of an older time.
    world.fill("third", 10);
    fs::remove_dir_all(world.photos.join("first")).unwrap();
    world.assert_index_equals_folder().await;
    servers.kill_nats().await;
    copy_folder(&copy, &store);
    world.fill("fourth", 3);
    fs::remove_dir_all(world.photos.join("second")).unwrap();
    servers.restart_nats().await.unwrap();
    world.assert_index_equals_folder().await;

    // The messages are lost, and not how far the workers' consumer was: the stream counts anew
    // from below that.
    servers.kill_nats().await;
    let events = store.join(format!("jetstream/$G/streams/{}/msgs", jetstream.events()));
    fs::remove_dir_all(&events).unwrap();
    servers.restart_nats().await.unwrap();
    world.fill("afterwards", 5);
    fs::remove_dir_all(world.photos.join("third")).unwrap();
    world.assert_index_equals_folder().await;

    // Killed in the middle of work, and its disk with it.
    world.fill("fifth", 30);
    stored(&world, 1).await;
    servers.kill_nats().await;
    fs::remove_dir_all(&store).unwrap();
    world.fill("sixth", 3);
    servers.restart_nats().await.unwrap();
    world.assert_index_equals_folder().await;
    assert_eq!(world.rows().await.len(), 42);
    roles.stop().await;
}

/// As `up` does with its own nats-server. A stream that is made again at the very moment at which
/// one of its name is deleted may lose its folder to that deletion, and takes nothing then.
async fn restart_when_stuck(servers: &mut Servers) {
    loop {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        if let Some(reason) = servers.nats_is_stuck().await {
            eprintln!("nats-server is started again: {reason}");
            servers.restart_nats().await.unwrap();
        }
    }
}

#[tokio::test]
async fn streams_deleted_and_a_consumer() {
    let mut world = impatient("streams");
    let mut servers = own_servers(&world.dir.path().join("own"), NATS_ONLY).await;
    world.own_nats_url = servers.nats_url().map(str::to_owned);
    let mut roles = without_embedder(&mut world).await;
    let jetstream = world.jetstream();
    // Events that nobody had begun with.
    world.fill("first", 10);
    stored(&world, 10).await;
    jetstream.delete(&jetstream.events()).await;
    roles.embed = world.role("embed");
    tokio::select! {
        () = world.assert_index_equals_folder() => {}
        () = restart_when_stuck(&mut servers) => {}
    }

    // Outcomes that nobody had read; and the consumer under a worker's hands.
    roles.watch.freeze();
    world.fill("second", 10);
    roles.watch.wake();
    stored(&world, 1).await;
    roles.watch.freeze();
    eventually("all are done", PATIENCE, || async {
        let waiting = jetstream.messages(&jetstream.events()).await;
        (waiting == 0).then_some(()).ok_or(waiting.to_string())
    })
    .await;
    jetstream.delete(&jetstream.outcomes()).await;
    jetstream.delete_consumer().await;
    world.fill("third", 10);
    roles.watch.wake();
    tokio::select! {
        () = world.assert_index_equals_folder() => {}
        () = restart_when_stuck(&mut servers) => {}
    }

    // Both at once, in the middle.
    world.fill("fourth", 40);
    fs::remove_dir_all(world.photos.join("second")).unwrap();
    stored(&world, 1).await;
    jetstream.delete(&jetstream.outcomes()).await;
    jetstream.delete(&jetstream.events()).await;
    tokio::select! {
        () = world.assert_index_equals_folder() => {}
        () = restart_when_stuck(&mut servers) => {}
    }
    assert_eq!(world.rows().await.len(), 61);
    roles.stop().await;
}

#[tokio::test]
async fn a_full_stream_holds_the_watcher_back_and_loses_nothing() {
    let mut world = impatient("full");
    world.set("LOOKALIKE_NATS_EVENTS_MAX_BYTES", "16KiB");
    let mut roles = without_embedder(&mut world).await;
    world.fill("", 200);
    roles.watch.says("the stream of events is full").await;
    fs::remove_file(world.photos.join("0.jpg")).unwrap();
    fs::rename(world.photos.join("1.jpg"), world.photos.join("moved.jpg")).unwrap();
    let stats = world
        .stats_where("all are seen", |stats| stats["on_disk"] == 200)
        .await;
    assert!(stats["in_flight"].as_u64() > Some(150), "{stats}");
    roles.embed = world.role("embed");
    world.assert_index_equals_folder().await;
    assert_eq!(world.rows().await.len(), 200);
    roles.stop().await;
}

#[tokio::test]
async fn stored_but_the_answer_lost() {
    let mut world = impatient("answers");
    let wire = world.proxy_nats();
    let mut roles = without_embedder(&mut world).await;
    // What the watcher publishes arrives, and it does not hear so.
    wire.set(Wire::Answerless);
    world.fill("first", 10);
    stored(&world, 1).await;
    fs::remove_file(world.photos.join("first/0.jpg")).unwrap();
    world.fill("second", 5);
    roles.watch.says("trying again").await;
    wire.set(Wire::Whole);
    // A worker whose acknowledgements are lost, and its outcomes, and whatever it asks for.
    roles.embed = world.role("embed");
    for round in 0..3 {
        world.fill(&format!("round {round}"), 10);
        let lost = wire.lost();
        wire.set(if round % 2 == 0 {
            Wire::Answerless
        } else {
            Wire::HalfOpen
        });
        eventually("something is lost", PATIENCE, || async {
            (wire.lost() > lost).then_some(()).ok_or("nothing".into())
        })
        .await;
        fs::remove_file(world.photos.join(format!("round {round}/3.jpg"))).unwrap();
        wire.set(Wire::Whole);
        world.assert_index_equals_folder().await;
    }
    assert_eq!(world.rows().await.len(), 1 + 14 + 3 * 9);
    roles.stop().await;
}

#[tokio::test]
async fn an_old_message_after_a_newer_one_changes_nothing() {
    let mut world = impatient("stale");
    let mut roles = without_embedder(&mut world).await;
    world.fill("", 6);
    stored(&world, 6).await;
    let jetstream = world.jetstream();
    let old = jetstream.waiting_events().await;
    assert_eq!(old.len(), 6);
    roles.embed = world.role("embed");
    world.assert_index_equals_folder().await;
    // Edited, moved, deleted, put back as it was, and left alone.
    let at = |path: &str| world.photos.join(path);
    let first = fs::read(at("0.jpg")).unwrap();
    fs::write(at("0.jpg"), fs::read(at("1.jpg")).unwrap()).unwrap();
    fs::rename(at("2.jpg"), at("moved.jpg")).unwrap();
    fs::remove_file(at("3.jpg")).unwrap();
    fs::write(at("4.jpg"), &first).unwrap();
    world.assert_index_equals_folder().await;
    let rows = world.rows().await;
    for (subject, bytes) in old.iter().chain(&old) {
        jetstream.publish(subject, bytes).await;
    }
    eventually("all are answered", PATIENCE, || async {
        let waiting = jetstream.messages(&jetstream.events()).await;
        (waiting == 0).then_some(()).ok_or(waiting.to_string())
    })
    .await;
    world.assert_index_equals_folder().await;
    let after = world.rows().await;
    assert!(rows.keys().eq(after.keys()), "{rows:?}\n{after:?}");
    // What is no message at all is put away.
    let subject = &old[0].0;
    jetstream.publish(subject, b"no event").await;
    jetstream.publish(subject, b"").await;
    world.fill("after", 3);
    world.assert_index_equals_folder().await;
    eventually("they are removed", PATIENCE, || async {
        let waiting = jetstream.messages(&jetstream.events()).await;
        (waiting == 0).then_some(()).ok_or(waiting.to_string())
    })
    .await;
    roles.stop().await;
}

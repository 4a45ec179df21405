//! SIGTERM while a server hangs: it ends well, within half a minute, and nothing is lost.

use crate::harness::{SystemWorld, Wire};

/// How long it may take where nothing hangs for long.
async fn stop_while(nats: Wire, milvus: Wire) {
    let mut world = SystemWorld::new("leaving");
    let wires = (world.proxy_nats(), world.proxy_milvus());
    world.add_pictures("", 10);
    world.start_up().await;
    world.assert_index_equals_folder().await;
    world.add_pictures("more", 30);
    world
        .wait_for_stats("it works", |stats| stats["in_flight"].as_u64() > Some(0))
        .await;
    wires.0.set_wire(nats);
    wires.1.set_wire(milvus);
    let mut up = world.up.take().unwrap();
    let took = up.terminate_cleanly().await;
    eprintln!("measured: left after {took:?} with NATS {nats:?}, Milvus {milvus:?}");
    wires.0.set_wire(Wire::Intact);
    wires.1.set_wire(Wire::Intact);
    world.start_up().await;
    world.assert_index_equals_folder().await;
    assert_eq!(world.read_rows().await.len(), 40);
    world.stop_up().await;
}

#[tokio::test]
async fn it_leaves_while_nats_hangs() {
    stop_while(Wire::HalfOpen, Wire::Intact).await;
}

#[tokio::test]
async fn it_leaves_while_milvus_hangs() {
    stop_while(Wire::Intact, Wire::HalfOpen).await;
}

#[tokio::test]
async fn it_leaves_while_both_are_cut_off() {
    stop_while(Wire::Cut, Wire::Cut).await;
}

//! SIGTERM while a server hangs: it ends well, within half a minute, and nothing is lost.

use crate::harness::{Wire, World};

/// How long it may take where nothing hangs for long.
async fn leaves(nats: Wire, milvus: Wire) {
    let mut world = World::new("leaving");
    let wires = (world.proxy_nats(), world.proxy_milvus());
    world.fill("", 10);
    world.start().await;
    world.assert_index_equals_folder().await;
    world.fill("more", 30);
    world
        .stats_where("it works", |stats| stats["in_flight"].as_u64() > Some(0))
        .await;
    wires.0.set(nats);
    wires.1.set(milvus);
    let mut up = world.up.take().unwrap();
    let took = up.terminate().await;
    eprintln!("measured: left after {took:?} with NATS {nats:?}, Milvus {milvus:?}");
    wires.0.set(Wire::Whole);
    wires.1.set(Wire::Whole);
    world.start().await;
    world.assert_index_equals_folder().await;
    assert_eq!(world.rows().await.len(), 40);
    world.stop().await;
}

#[tokio::test]
async fn it_leaves_while_nats_hangs() {
    leaves(Wire::HalfOpen, Wire::Whole).await;
}

#[tokio::test]
async fn it_leaves_while_milvus_hangs() {
    leaves(Wire::Whole, Wire::HalfOpen).await;
}

#[tokio::test]
async fn it_leaves_while_both_are_cut_off() {
    leaves(Wire::Cut, Wire::Cut).await;
}

//! Faults of Milvus.

use std::fs;

use crate::harness::{SETTLE_TIMEOUT, SystemWorld, Wire, eventually};

#[tokio::test]
async fn an_unreachable_milvus_causes_no_redeliveries() {
    let mut world = SystemWorld::new("away");
    world.set_variable("LOOKALIKE_NATS_ACK_WAIT", "10s");
    world.set_variable("LOOKALIKE_MILVUS_CALL_TIMEOUT", "2s");
    let wire = world.proxy_milvus();
    world.add_pictures("first", 10);
    world.start_up().await;
    world.assert_index_equals_folder().await;
    for (round, broken) in [Wire::Cut, Wire::HalfOpen].into_iter().enumerate() {
        wire.set_wire(broken);
        world.add_pictures(&format!("while it is away {round}"), 40);
        fs::remove_file(world.photos.join(format!("first/{round}.jpg"))).unwrap();
        // Longer than the ack deadline.
        let away = std::time::Instant::now();
        world
            .wait_for_stats("all wait, for some time", |stats| {
                stats["in_flight"].as_u64() >= Some(40) && away.elapsed().as_secs() >= 14
            })
            .await;
        if round == 0 {
            let oldest = "lookalike_queue_oldest_seconds";
            eventually(
                "operators see how long events wait",
                SETTLE_TIMEOUT,
                || async {
                    let seconds = world.read_metric(oldest).await;
                    (seconds > 3.0).then_some(()).ok_or(seconds.to_string())
                },
            )
            .await;
        }
        wire.set_wire(Wire::Intact);
        world.assert_index_equals_folder().await;
    }
    assert_eq!(world.read_rows().await.len(), 88);
    let again = world.read_metric("lookalike_redeliveries_total").await;
    assert!(again <= 20.0, "{again} deliveries were made again");
    world.stop_up().await;
}

#[tokio::test]
async fn an_upsert_that_timed_out_was_applied_or_half() {
    let mut world = SystemWorld::new("half");
    world.set_variable("LOOKALIKE_MILVUS_CALL_TIMEOUT", "2s");
    world.set_variable("LOOKALIKE_MILVUS_UPSERT_ROWS", "4");
    let wire = world.proxy_milvus();
    world.add_pictures("", 3);
    world.start_up().await;
    world.assert_index_equals_folder().await;
    let index = world.open_index().await;
    let written = async |count: usize| {
        eventually("rows are written", SETTLE_TIMEOUT, || async {
            let rows = world.try_read_rows(&index).await?;
            (rows.len() >= count)
                .then_some(())
                .ok_or(rows.len().to_string())
        })
        .await;
    };
    // Requests arrive, replies do not: the first of several requests is applied and repeated.
    wire.set_wire(Wire::Answerless);
    world.add_pictures("applied", 20);
    written(4).await;
    fs::remove_file(world.photos.join("0.jpg")).unwrap();
    fs::remove_file(world.photos.join("applied/0.jpg")).unwrap();
    wire.set_wire(Wire::Intact);
    world.assert_index_equals_folder().await;
    // The wire is cut between several requests.
    wire.set_wire(Wire::Slow(std::time::Duration::from_millis(100)));
    world.add_pictures("half", 40);
    written(21 + 4).await;
    wire.set_wire(Wire::Cut);
    fs::write(
        world.photos.join("half/1.jpg"),
        fs::read(world.photos.join("1.jpg")).unwrap(),
    )
    .unwrap();
    wire.set_wire(Wire::Intact);
    world.assert_index_equals_folder().await;
    assert_eq!(world.read_rows().await.len(), 2 + 19 + 40);
    world.stop_up().await;
}

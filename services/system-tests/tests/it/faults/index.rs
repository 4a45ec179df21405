//! Faults of Milvus.

use std::fs;

use crate::harness::{PATIENCE, Wire, World, eventually};

#[tokio::test]
async fn milvus_away_for_a_while_burns_no_redeliveries() {
    let mut world = World::new("away");
    world.set("LOOKALIKE_NATS_ACK_WAIT", "3s");
    world.set("LOOKALIKE_MILVUS_CALL_TIMEOUT", "2s");
    let wire = world.proxy_milvus();
    world.fill("first", 10);
    world.start().await;
    world.assert_index_equals_folder().await;
    for (round, broken) in [Wire::Cut, Wire::HalfOpen].into_iter().enumerate() {
        wire.set(broken);
        world.fill(&format!("while it is away {round}"), 40);
        fs::remove_file(world.photos.join(format!("first/{round}.jpg"))).unwrap();
        // Longer than a delivery waits.
        let away = std::time::Instant::now();
        world
            .stats_where("all wait, for some time", |stats| {
                stats["in_flight"].as_u64() >= Some(40) && away.elapsed().as_secs() >= 7
            })
            .await;
        if round == 0 {
            let oldest = "lookalike_queue_oldest_seconds";
            eventually("operators see how long events wait", PATIENCE, || async {
                let seconds = world.metric(oldest).await;
                (seconds > 3.0).then_some(()).ok_or(seconds.to_string())
            })
            .await;
        }
        wire.set(Wire::Whole);
        world.assert_index_equals_folder().await;
    }
    assert_eq!(world.rows().await.len(), 88);
    let again = world.metric("lookalike_redeliveries_total").await;
    assert!(again <= 20.0, "{again} deliveries were made again");
    world.stop().await;
}

#[tokio::test]
async fn an_upsert_that_timed_out_was_applied_or_half() {
    let mut world = World::new("half");
    world.set("LOOKALIKE_MILVUS_CALL_TIMEOUT", "2s");
    world.set("LOOKALIKE_MILVUS_UPSERT_ROWS", "4");
    let wire = world.proxy_milvus();
    world.fill("", 3);
    world.start().await;
    world.assert_index_equals_folder().await;
    let index = world.index().await;
    let written = async |count: usize| {
        eventually("rows are written", PATIENCE, || async {
            let rows = world.try_rows(&index).await?;
            (rows.len() >= count)
                .then_some(())
                .ok_or(rows.len().to_string())
        })
        .await;
    };
    // Requests arrive, answers do not: the first one of several is applied, and tried again.
    wire.set(Wire::Answerless);
    world.fill("applied", 20);
    written(4).await;
    fs::remove_file(world.photos.join("0.jpg")).unwrap();
    fs::remove_file(world.photos.join("applied/0.jpg")).unwrap();
    wire.set(Wire::Whole);
    world.assert_index_equals_folder().await;
    // The wire ends in the middle of several.
    wire.set(Wire::Slow(std::time::Duration::from_millis(100)));
    world.fill("half", 40);
    written(21 + 4).await;
    wire.set(Wire::Cut);
    fs::write(
        world.photos.join("half/1.jpg"),
        fs::read(world.photos.join("1.jpg")).unwrap(),
    )
    .unwrap();
    wire.set(Wire::Whole);
    world.assert_index_equals_folder().await;
    assert_eq!(world.rows().await.len(), 2 + 19 + 40);
    world.stop().await;
}

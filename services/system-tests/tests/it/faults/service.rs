//! What people and programs see while something is away.

use std::fs;

use crate::harness::{Proxy, Wire, World, eventually, samples};

#[tokio::test]
async fn while_nats_or_milvus_is_away_the_answer_is_503_and_when() {
    let mut world = World::new("service");
    world.set("LOOKALIKE_MILVUS_CALL_TIMEOUT", "2s");
    world.set("LOOKALIKE_NATS_CALL_TIMEOUT", "2s");
    world.set("LOOKALIKE_NATS_EMBED_TIMEOUT", "2s");
    let (nats, milvus) = (world.proxy_nats(), world.proxy_milvus());
    world.fill("", 3);
    world.start().await;
    world.assert_index_equals_folder().await;
    let bytes = fs::read(&samples()[0]).unwrap();
    for (wire, broken) in [
        (&nats, Wire::Cut),
        (&nats, Wire::HalfOpen),
        (&milvus, Wire::Cut),
        (&milvus, Wire::HalfOpen),
    ] {
        wire.set(broken);
        let what = format!("{broken:?} is noticed");
        eventually(&what, std::time::Duration::from_secs(30), || async {
            let ready = world.get_raw("/readyz").await;
            if ready.status() != 503 {
                return Err(format!("/readyz says {}", ready.status()));
            }
            let answer = world
                .post_raw("/v1/search/image?limit=1", bytes.clone())
                .await;
            if answer.status() != 503 {
                return Err(format!("a search says {}", answer.status()));
            }
            for answer in [ready, answer] {
                let wait = answer.headers()["retry-after"].to_str().unwrap().to_owned();
                assert!(wait.parse::<u32>().unwrap() >= 1);
                let problem: serde_json::Value = answer.json().await.unwrap();
                assert_eq!(problem["status"], 503, "{problem}");
            }
            Ok(())
        })
        .await;
        assert_eq!(world.get_raw("/healthz").await.status(), 200);
        wire.set(Wire::Whole);
        world.ready().await;
        eventually(
            "it is found",
            std::time::Duration::from_secs(30),
            || async {
                let answer = world
                    .post_raw("/v1/search/image?limit=1", bytes.clone())
                    .await;
                match answer.status().as_u16() {
                    200 => Ok(()),
                    other => Err(other.to_string()),
                }
            },
        )
        .await;
    }
    world.fill("after", 3);
    world.assert_index_equals_folder().await;
    world.stop().await;
}

#[tokio::test]
async fn a_file_deleted_between_search_and_thumbnail_is_gone() {
    let mut world = World::new("thumbnail");
    world.fill("", 2);
    let roles = world.start_roles().await;
    world.assert_index_equals_folder().await;
    let bytes = fs::read(world.photos.join("0.jpg")).unwrap();
    let hit = world.search(&bytes, 1).await.remove(0);
    assert_eq!(hit["path"], "0.jpg");
    let status = async |key: &str| {
        let url = hit[key].as_str().unwrap();
        world.get_raw(url).await.status().as_u16()
    };
    assert_eq!(status("content_url").await, 200);
    // The row stays as long as the watcher does not look.
    roles.watch.freeze();
    fs::remove_file(world.photos.join("0.jpg")).unwrap();
    assert_eq!(status("content_url").await, 410);
    assert_eq!(status("thumbnail_url").await, 410);
    roles.watch.wake();
    world.assert_index_equals_folder().await;
    assert_eq!(status("content_url").await, 404);
    assert_eq!(status("thumbnail_url").await, 404);
    roles.stop().await;
}

#[tokio::test]
async fn servers_at_another_address_after_a_restart() {
    let mut world = World::new("address");
    let (nats, milvus) = (world.proxy_nats(), world.proxy_milvus());
    world.fill("", 5);
    world.start().await;
    world.assert_index_equals_folder().await;
    let rows = world.rows().await;
    world.stop().await;
    drop((nats, milvus));
    let _at_another = (world.proxy_nats(), world.proxy_milvus());
    world.fill("more", 2);
    world.start().await;
    world.assert_index_equals_folder().await;
    let after = world.rows().await;
    assert!(rows.iter().all(|(id, row)| after.get(id) == Some(row)));
    assert_eq!(world.metric("lookalike_embeddings_total").await, 2.0);
    world.stop().await;
}

#[tokio::test]
async fn behind_a_slow_wire_everything_works() {
    let mut world = World::new("slow");
    let wires: [Proxy; 2] = [world.proxy_nats(), world.proxy_milvus()];
    world.start().await;
    for wire in &wires {
        wire.set(Wire::Slow(std::time::Duration::from_millis(30)));
    }
    world.fill("", 20);
    world.assert_index_equals_folder().await;
    let bytes = fs::read(world.photos.join("3.jpg")).unwrap();
    assert_eq!(world.search(&bytes, 1).await[0]["path"], "3.jpg");
    world.stop().await;
}

//! What people and programs see while a server is unreachable.

use std::fs;

use crate::harness::{Proxy, SystemWorld, Wire, eventually, sample_pictures};

#[tokio::test]
async fn an_unreachable_nats_or_milvus_is_reported_with_retry_after() {
    let mut world = SystemWorld::new("service");
    world.set_variable("LOOKALIKE_MILVUS_CALL_TIMEOUT", "2s");
    world.set_variable("LOOKALIKE_NATS_CALL_TIMEOUT", "2s");
    world.set_variable("LOOKALIKE_NATS_EMBED_TIMEOUT", "2s");
    let (nats, milvus) = (world.proxy_nats(), world.proxy_milvus());
    world.add_pictures("", 3);
    world.start_up().await;
    world.assert_index_equals_folder().await;
    let bytes = fs::read(&sample_pictures()[0]).unwrap();
    // The embedder of this process computes the vectors of queries without NATS.
    for (wire, broken, expected_status) in [
        (&nats, Wire::Cut, 200),
        (&nats, Wire::HalfOpen, 200),
        (&milvus, Wire::Cut, 503),
        (&milvus, Wire::HalfOpen, 503),
    ] {
        wire.set_wire(broken);
        let what = format!("{broken:?} is noticed");
        eventually(&what, std::time::Duration::from_secs(30), || async {
            let ready = world.get_response("/readyz").await;
            if ready.status() != 503 {
                return Err(format!("/readyz says {}", ready.status()));
            }
            let answer = world
                .post_response("/v1/search/image?limit=1", bytes.clone())
                .await;
            if answer.status() != expected_status {
                return Err(format!("a search says {}", answer.status()));
            }
            let unavailable = [ready, answer]
                .into_iter()
                .filter(|answer| answer.status() == 503);
            for answer in unavailable {
                let wait = answer.headers()["retry-after"].to_str().unwrap().to_owned();
                assert!(wait.parse::<u32>().unwrap() >= 1);
                let problem: serde_json::Value = answer.json().await.unwrap();
                assert_eq!(problem["status"], 503, "{problem}");
            }
            Ok(())
        })
        .await;
        assert_eq!(world.get_response("/healthz").await.status(), 200);
        wire.set_wire(Wire::Intact);
        world.wait_until_ready().await;
        eventually(
            "it is found",
            std::time::Duration::from_secs(30),
            || async {
                let answer = world
                    .post_response("/v1/search/image?limit=1", bytes.clone())
                    .await;
                match answer.status().as_u16() {
                    200 => Ok(()),
                    other => Err(other.to_string()),
                }
            },
        )
        .await;
    }
    world.add_pictures("after", 3);
    world.assert_index_equals_folder().await;
    world.stop_up().await;
}

#[tokio::test]
async fn a_file_deleted_between_search_and_thumbnail_is_gone() {
    let mut world = SystemWorld::new("thumbnail");
    world.add_pictures("", 2);
    let roles = world.start_roles().await;
    world.assert_index_equals_folder().await;
    let bytes = fs::read(world.photos.join("0.jpg")).unwrap();
    let hit = world.search_by_picture(&bytes, 1).await.remove(0);
    assert_eq!(hit["path"], "0.jpg");
    let status = async |key: &str| {
        let url = hit[key].as_str().unwrap();
        world.get_response(url).await.status().as_u16()
    };
    assert_eq!(status("content_url").await, 200);
    // The row stays while the watcher is frozen.
    roles.watch.freeze_process();
    fs::remove_file(world.photos.join("0.jpg")).unwrap();
    assert_eq!(status("content_url").await, 410);
    assert_eq!(status("thumbnail_url").await, 410);
    roles.watch.resume_process();
    world.assert_index_equals_folder().await;
    assert_eq!(status("content_url").await, 404);
    assert_eq!(status("thumbnail_url").await, 404);
    roles.stop_roles().await;
}

#[tokio::test]
async fn servers_at_another_address_after_a_restart() {
    let mut world = SystemWorld::new("address");
    let (nats, milvus) = (world.proxy_nats(), world.proxy_milvus());
    world.add_pictures("", 5);
    world.start_up().await;
    world.assert_index_equals_folder().await;
    let rows = world.read_rows().await;
    world.stop_up().await;
    drop((nats, milvus));
    let _at_another = (world.proxy_nats(), world.proxy_milvus());
    world.add_pictures("more", 2);
    world.start_up().await;
    world.assert_index_equals_folder().await;
    let after = world.read_rows().await;
    assert!(rows.iter().all(|(id, row)| after.get(id) == Some(row)));
    assert_eq!(world.read_metric("lookalike_embeddings_total").await, 2.0);
    world.stop_up().await;
}

#[tokio::test]
async fn behind_a_slow_wire_everything_works() {
    let mut world = SystemWorld::new("slow");
    let wires: [Proxy; 2] = [world.proxy_nats(), world.proxy_milvus()];
    world.start_up().await;
    for wire in &wires {
        wire.set_wire(Wire::Slow(std::time::Duration::from_millis(30)));
    }
    world.add_pictures("", 20);
    world.assert_index_equals_folder().await;
    let bytes = fs::read(world.photos.join("3.jpg")).unwrap();
    assert_eq!(world.search_by_picture(&bytes, 1).await[0]["path"], "3.jpg");
    world.stop_up().await;
}

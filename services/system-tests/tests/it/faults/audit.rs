//! Milvus lost or changed rows: the audit finds the differences and repairs them.

use lookalike_index::{IndexRow, IndexedImage};

use crate::harness::SystemWorld;

/// Repairs differences that no change in the folders would reveal.
async fn audit_and_repair(world: &SystemWorld, expected: impl Fn(u64) -> bool) {
    let (before, equal) = world.run_audit(&[]).await;
    assert!(!equal, "{before}");
    let count = before["found"].as_u64().unwrap();
    assert!(expected(count), "{before}");
    let (report, equal) = world.run_audit(&["--repair"]).await;
    assert!(equal, "{report}");
    world.assert_index_equals_folder().await;
    let (after, equal) = world.run_audit(&[]).await;
    assert!(equal, "{after}");
    assert_eq!(after["differences"], 0, "{after}");
}

#[tokio::test]
async fn duplicate_unknown_wrong_and_missing_rows_are_repaired() {
    let mut world = SystemWorld::new("audit");
    world.set_variable("LOOKALIKE_AUDIT_ENABLED", "false");
    // An audit fills an empty collection only if it knows the model.
    world.set_variable("LOOKALIKE_VISION_MODEL", lookalike_vision::BUNDLED_MODEL);
    world.add_pictures("", 20);
    world.start_up().await;
    world.assert_index_equals_folder().await;
    let index = world.open_index().await;
    let rows = world.read_rows().await;
    let ids: Vec<&String> = rows.keys().collect();
    let vector = async |id: &str| {
        let consistency = lookalike_index::ReadConsistency::Strong;
        index.fetch_vector(id, consistency).await.unwrap().unwrap()
    };
    let row = async |id: &str| IndexRow {
        image: rows[id].clone(),
        vector: vector(id).await,
    };
    // Duplicate.
    let doubled = row(ids[0]).await;
    index
        .insert_duplicates(&[&doubled, &doubled])
        .await
        .unwrap();
    // Unknown: another id at an existing path, and the id of a file that never existed.
    let strange = |id: &str, path: &str, like: &IndexRow| IndexRow {
        image: IndexedImage {
            id: id.repeat(32),
            path: path.to_owned(),
            ..like.image.clone()
        },
        vector: like.vector.clone(),
    };
    let path = doubled.image.path.clone();
    index
        .upsert_rows(&[
            strange("a", &path, &doubled),
            strange("b", "never.jpg", &doubled),
        ])
        .await
        .unwrap();
    // Wrong: with an older content, and with an older path.
    let mut wrong = row(ids[1]).await;
    wrong.image.content_hash = "0".repeat(64);
    let mut moved = row(ids[2]).await;
    moved.image.path = "elsewhere.jpg".into();
    index.upsert_rows(&[wrong, moved]).await.unwrap();
    // Missing.
    index
        .delete_ids(&[ids[3].clone(), ids[4].clone()])
        .await
        .unwrap();
    // One duplicate, two unknown, two wrong, two missing.
    audit_and_repair(&world, |count| count == 7).await;
    let after = world.read_rows().await;
    assert!(rows.keys().eq(after.keys()), "ids changed");

    // The whole collection.
    index.drop_collection().await.unwrap();
    audit_and_repair(&world, |count| count == 20).await;
    let after = world.read_rows().await;
    assert!(rows.keys().eq(after.keys()), "ids changed");
    world.stop_up().await;
}

#[tokio::test]
async fn a_dropped_collection_is_refilled_automatically() {
    let mut world = SystemWorld::new("dropped");
    world.set_variable("LOOKALIKE_AUDIT_CHECK_INTERVAL", "1s");
    world.add_pictures("", 20);
    world.start_up().await;
    world.assert_index_equals_folder().await;
    let rows = world.read_rows().await;
    let embedded = world.read_metric("lookalike_embeddings_total").await;
    world.open_index().await.drop_collection().await.unwrap();
    std::fs::remove_file(world.photos.join("0.jpg")).unwrap();
    world.add_pictures("more", 2);
    world.assert_index_equals_folder().await;
    let after = world.read_rows().await;
    assert_eq!(after.len(), 21);
    assert_eq!(rows.keys().filter(|id| after.contains_key(*id)).count(), 19);
    let again = world.read_metric("lookalike_embeddings_total").await - embedded;
    assert!(again <= 21.0, "{again} were embedded");
    world.stop_up().await;
}

//! Milvus no longer has what it was given: the audit finds it and sends it again.

use lookalike_index::{Image, Row};

use crate::harness::World;

/// Repairs what the folders' own changes would never reveal.
async fn repair(world: &World, found: impl Fn(u64) -> bool) {
    let (before, equal) = world.audit(&[]).await;
    assert!(!equal, "{before}");
    let count = before["found"].as_u64().unwrap();
    assert!(found(count), "{before}");
    let (report, equal) = world.audit(&["--repair"]).await;
    assert!(equal, "{report}");
    world.assert_index_equals_folder().await;
    let (after, equal) = world.audit(&[]).await;
    assert!(equal, "{after}");
    assert_eq!(after["differences"], 0, "{after}");
}

#[tokio::test]
async fn rows_doubled_unknown_wrong_or_lost_are_found_and_repaired() {
    let mut world = World::new("audit");
    world.set("LOOKALIKE_AUDIT_ENABLED", "false");
    world.fill("", 20);
    world.start().await;
    world.assert_index_equals_folder().await;
    let index = world.index().await;
    let rows = world.rows().await;
    let ids: Vec<&String> = rows.keys().collect();
    let vector = async |id: &str| {
        let consistency = lookalike_index::Consistency::Strong;
        index.vector_of(id, consistency).await.unwrap().unwrap()
    };
    let row = async |id: &str| Row {
        image: rows[id].clone(),
        vector: vector(id).await,
    };
    // Doubled.
    let doubled = row(ids[0]).await;
    index.insert_again(&[&doubled, &doubled]).await.unwrap();
    // Nobody knows them: another id at a path that is there, and one of a file that never was.
    let strange = |id: &str, path: &str, like: &Row| Row {
        image: Image {
            id: id.repeat(32),
            path: path.to_owned(),
            ..like.image.clone()
        },
        vector: like.vector.clone(),
    };
    let path = doubled.image.path.clone();
    index
        .upsert(&[
            strange("a", &path, &doubled),
            strange("b", "never.jpg", &doubled),
        ])
        .await
        .unwrap();
    // Wrong: of an older content, and at an older path.
    let mut wrong = row(ids[1]).await;
    wrong.image.content_hash = "0".repeat(64);
    let mut moved = row(ids[2]).await;
    moved.image.path = "elsewhere.jpg".into();
    index.upsert(&[wrong, moved]).await.unwrap();
    // Lost.
    index
        .delete_ids(&[ids[3].clone(), ids[4].clone()])
        .await
        .unwrap();
    // One doubled, two unknown, two wrong, two lost.
    repair(&world, |found| found == 7).await;
    let after = world.rows().await;
    assert!(rows.keys().eq(after.keys()), "ids changed");

    // The whole collection.
    index.drop_collection().await.unwrap();
    repair(&world, |found| found == 20).await;
    let after = world.rows().await;
    assert!(rows.keys().eq(after.keys()), "ids changed");
    world.stop().await;
}

#[tokio::test]
async fn a_dropped_collection_is_noticed_and_filled_by_itself() {
    let mut world = World::new("dropped");
    world.set("LOOKALIKE_AUDIT_CHECK_INTERVAL", "1s");
    world.fill("", 20);
    world.start().await;
    world.assert_index_equals_folder().await;
    let rows = world.rows().await;
    let embedded = world.metric("lookalike_embeddings_total").await;
    world.index().await.drop_collection().await.unwrap();
    std::fs::remove_file(world.photos.join("0.jpg")).unwrap();
    world.fill("more", 2);
    world.assert_index_equals_folder().await;
    let after = world.rows().await;
    assert_eq!(after.len(), 21);
    assert_eq!(rows.keys().filter(|id| after.contains_key(*id)).count(), 19);
    let again = world.metric("lookalike_embeddings_total").await - embedded;
    assert!(again <= 21.0, "{again} were embedded");
    world.stop().await;
}

//! The embedder audits by itself, and what the audit leaves alone.

use lookalike_index::{Consistency, Image, Index, Row};

use crate::harness::{PATIENCE, World, eventually};

async fn row(index: &Index, image: &Image) -> Row {
    let vector = index.vector_of(&image.id, Consistency::Strong);
    Row {
        image: image.clone(),
        vector: vector.await.unwrap().unwrap(),
    }
}

/// How many of this kind were found to differ and are not known to be repaired.
async fn drift(world: &World, kind: &str) -> f64 {
    let name = format!("lookalike_drift_rows{{kind={kind:?}}}");
    world.metric(&name).await
}

async fn repaired(world: &World, kind: &str, least: f64) {
    let name = format!("lookalike_repaired_total{{kind={kind:?}}}");
    let what = format!("{least} {kind} are repaired");
    eventually(&what, PATIENCE, || async {
        let repaired = world.metric(&name).await;
        (repaired >= least)
            .then_some(())
            .ok_or(repaired.to_string())
    })
    .await;
    let what = format!("nothing is {kind} any more");
    eventually(&what, PATIENCE, || async {
        let drift = drift(world, kind).await;
        (drift == 0.0).then_some(()).ok_or(drift.to_string())
    })
    .await;
    world.assert_index_equals_folder().await;
}

#[tokio::test]
async fn an_embedder_finds_and_repairs_by_itself() {
    let mut world = World::new("by_itself");
    world.set("LOOKALIKE_AUDIT_CHECK_INTERVAL", "300ms");
    world.set("LOOKALIKE_AUDIT_SECOND_LOOK", "100ms");
    world.fill("", 12);
    world.start().await;
    world.assert_index_equals_folder().await;
    eventually("the first audit", PATIENCE, || async {
        let audits = world.metric("lookalike_audits_total").await;
        (audits >= 1.0).then_some(()).ok_or(audits.to_string())
    })
    .await;
    let index = world.index().await;
    let rows = world.rows().await;
    let images: Vec<&Image> = rows.values().collect();

    index.delete_ids(&[images[0].id.clone()]).await.unwrap();
    repaired(&world, "missing", 1.0).await;

    let doubled = row(&index, images[1]).await;
    index.insert_again(&[&doubled, &doubled]).await.unwrap();
    repaired(&world, "doubled", 1.0).await;

    let mut unknown = doubled.clone();
    unknown.image.id = "c".repeat(32);
    index.upsert(&[unknown]).await.unwrap();
    repaired(&world, "unknown", 1.0).await;

    // Everything: the collection is made again, and all files are sent again, with their ids.
    index.drop_collection().await.unwrap();
    repaired(&world, "missing", 13.0).await;
    let after = world.rows().await;
    assert!(rows.keys().eq(after.keys()), "ids changed");
    world.stop().await;
}

#[tokio::test]
async fn rows_of_failed_files_go_and_rows_that_nobody_watches_stay() {
    let mut world = World::new("unwatched");
    world.set("LOOKALIKE_AUDIT_ENABLED", "false");
    world.fill("", 4);
    std::fs::write(world.photos.join("broken.jpg"), b"\xff\xd8\xff no picture").unwrap();
    world.start().await;
    world.assert_index_equals_folder().await;
    let index = world.index().await;
    let rows = world.rows().await;
    let some = row(&index, rows.values().next().unwrap()).await;
    let failures = world.get("/v1/failures").await;
    let failed = failures["failures"][0]["id"].as_str().unwrap().to_owned();

    let mut of_failed = some.clone();
    of_failed.image.id = failed;
    of_failed.image.path = "broken.jpg".into();
    let mut elsewhere = some.clone();
    elsewhere.image.id = "d".repeat(32);
    elsewhere.image.library = "attic".into();
    index.upsert(&[of_failed, elsewhere]).await.unwrap();

    let (report, equal) = world.audit(&[]).await;
    assert!(!equal, "{report}");
    let found = &report["first"]["libraries"]["photos"]["differences"];
    assert_eq!(found.to_string(), r#"{"should_be_gone":1}"#);
    assert_eq!(report["first"]["unwatched"]["attic"], 1, "{report}");

    let (report, equal) = world.audit(&["--repair", "photos"]).await;
    assert!(equal, "{report}");
    let (report, equal) = world.audit(&["--deep"]).await;
    assert!(equal, "{report}");
    assert_eq!(
        report["first"]["libraries"]["photos"]["hashed"], 4,
        "{report}"
    );
    assert_eq!(
        report["first"]["unwatched"]["attic"], 1,
        "it was left alone: {report}"
    );
    index.delete_ids(&["d".repeat(32)]).await.unwrap();
    world.assert_index_equals_folder().await;
    world.stop().await;
}

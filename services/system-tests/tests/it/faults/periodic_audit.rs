//! The periodic audit of the embedder, and the rows that an audit leaves alone.

use lookalike_index::{Index, IndexRow, IndexedImage, ReadConsistency};

use crate::harness::{SETTLE_TIMEOUT, SystemWorld, eventually};

async fn read_row(index: &Index, image: &IndexedImage) -> IndexRow {
    let vector = index.fetch_vector(&image.id, ReadConsistency::Strong);
    IndexRow {
        image: image.clone(),
        vector: vector.await.unwrap().unwrap(),
    }
}

/// Returns how many differences of this kind were found and are not known to be repaired.
async fn read_drift(world: &SystemWorld, kind: &str) -> f64 {
    let name = format!("lookalike_drift_rows{{kind={kind:?}}}");
    world.read_metric(&name).await
}

async fn wait_for_repair(world: &SystemWorld, kind: &str, least: f64) {
    let name = format!("lookalike_repaired_total{{kind={kind:?}}}");
    let what = format!("{least} {kind} are repaired");
    eventually(&what, SETTLE_TIMEOUT, || async {
        let repaired = world.read_metric(&name).await;
        (repaired >= least)
            .then_some(())
            .ok_or(repaired.to_string())
    })
    .await;
    let what = format!("nothing is {kind} any more");
    eventually(&what, SETTLE_TIMEOUT, || async {
        let drift = read_drift(world, kind).await;
        (drift == 0.0).then_some(()).ok_or(drift.to_string())
    })
    .await;
    world.assert_index_equals_folder().await;
}

#[tokio::test]
async fn an_embedder_finds_and_repairs_by_itself() {
    let mut world = SystemWorld::new("by_itself");
    world.set_variable("LOOKALIKE_AUDIT_CHECK_INTERVAL", "300ms");
    world.set_variable("LOOKALIKE_AUDIT_RECHECK_DELAY", "100ms");
    world.add_pictures("", 12);
    world.start_up().await;
    world.assert_index_equals_folder().await;
    eventually("the first audit", SETTLE_TIMEOUT, || async {
        let audits = world.read_metric("lookalike_audits_total").await;
        (audits >= 1.0).then_some(()).ok_or(audits.to_string())
    })
    .await;
    let index = world.open_index().await;
    let rows = world.read_rows().await;
    let images: Vec<&IndexedImage> = rows.values().collect();

    index.delete_ids(&[images[0].id.clone()]).await.unwrap();
    wait_for_repair(&world, "missing", 1.0).await;

    let doubled = read_row(&index, images[1]).await;
    index
        .insert_duplicates(&[&doubled, &doubled])
        .await
        .unwrap();
    wait_for_repair(&world, "duplicate_rows", 1.0).await;

    let mut unknown = doubled.clone();
    unknown.image.id = "c".repeat(32);
    index.upsert_rows(&[unknown]).await.unwrap();
    wait_for_repair(&world, "unknown", 1.0).await;

    // Everything: the collection is recreated, and all files are sent again, with their ids.
    index.drop_collection().await.unwrap();
    wait_for_repair(&world, "missing", 13.0).await;
    let after = world.read_rows().await;
    assert!(rows.keys().eq(after.keys()), "ids changed");
    world.stop_up().await;
}

#[tokio::test]
async fn rows_of_failed_files_go_and_rows_that_nobody_watches_stay() {
    let mut world = SystemWorld::new("unwatched");
    world.set_variable("LOOKALIKE_AUDIT_ENABLED", "false");
    world.add_pictures("", 4);
    std::fs::write(world.photos.join("broken.jpg"), b"\xff\xd8\xff no picture").unwrap();
    world.start_up().await;
    world.assert_index_equals_folder().await;
    let index = world.open_index().await;
    let rows = world.read_rows().await;
    let some = read_row(&index, rows.values().next().unwrap()).await;
    let failures = world.get_json("/v1/failures").await;
    let failed = failures["failures"][0]["id"].as_str().unwrap().to_owned();

    let mut of_failed = some.clone();
    of_failed.image.id = failed;
    of_failed.image.path = "broken.jpg".into();
    let mut elsewhere = some.clone();
    elsewhere.image.id = "d".repeat(32);
    elsewhere.image.library = "attic".into();
    index.upsert_rows(&[of_failed, elsewhere]).await.unwrap();

    let (report, equal) = world.run_audit(&[]).await;
    assert!(!equal, "{report}");
    let differences = &report["first"]["libraries"]["photos"]["differences"];
    assert_eq!(differences.to_string(), r#"{"should_be_gone":1}"#);
    assert_eq!(report["first"]["unwatched"]["attic"], 1, "{report}");

    let (report, equal) = world.run_audit(&["--repair", "photos"]).await;
    assert!(equal, "{report}");
    let (report, equal) = world.run_audit(&["--deep"]).await;
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
    world.stop_up().await;
}

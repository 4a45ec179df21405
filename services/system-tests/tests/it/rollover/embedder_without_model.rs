//! One of several embedders cannot load the new model; the default model is named explicitly after an
//! update.

use super::missing_model::copy_model;
use super::{OLD, other_name, strange_model, wait_for_rows};
use crate::harness::SystemWorld;
use lookalike_index::Index;

#[tokio::test]
async fn an_embedder_that_can_not_load_the_new_model_stops_taking_events() {
    let mut world = SystemWorld::new("without-model");
    world.set_variable("LOOKALIKE_NATS_LEASE_TIMEOUT", "2s");
    world.set_variable("LOOKALIKE_NATS_ACK_WAIT", "5s");
    world.add_pictures("", 6);
    let roles = world.start_roles().await;
    world.wait_until_settled().await;
    let mut second = world.start_command(world.role_command("embed"), "embed-2");
    second.wait_for_log("taking events").await;
    // It is frozen during the rollover, and the model's folder is removed before it resumes.
    second.freeze_process();
    let folder = world.dir.path().canonicalize().unwrap().join("model");
    copy_model(&folder);
    world.roll_over_to(&[folder.to_str().unwrap()]).await;
    world.wait_until_served(&other_name()).await;
    std::fs::remove_dir_all(&folder).unwrap();
    second.resume_process();
    second.wait_for_log("leaving the work to them").await;
    for round in 0..3 {
        world.add_pictures(&format!("later {round}"), 20);
        world.wait_until_settled().await;
    }
    // At once: no audit had to repair anything.
    let (report, equal) = world.run_audit(&[]).await;
    assert!(equal && report["differences"] == 0, "{report}");
    let collections = world.open_collections().await;
    let name = collections.name_in_service().await.unwrap().unwrap();
    wait_for_rows(&collections, &name, 66).await;
    let status = second.interrupt_process().await;
    assert!(status.success(), "{}", second.log());
    roles.stop_roles().await;
}

#[tokio::test]
async fn a_named_default_model_of_another_version_rebuilds_the_index() {
    let mut world = SystemWorld::new("version-named");
    world.add_pictures("", 5);
    let settings = world.milvus_settings();
    let older = Index::open(&settings, &strange_model(OLD)).await.unwrap();
    let up = world.start_up_with(&["--model", OLD], "named");
    world.wait_for_up(up).await;
    world.assert_index_equals_folder().await;
    let collections = world.open_collections().await;
    let previous = collections.previous().await.unwrap().unwrap();
    assert_eq!(previous.name, *older.collection());
    // That version no longer exists, so no role could load it.
    let mut command = world.models_use_command(&["--rollback"]);
    command.arg("--yes");
    let mut command = world.start_command(command, "rollback");
    let status = command.wait_for_exit().await;
    assert_eq!(status.code(), Some(2), "{}", command.log());
    assert!(
        command.log().contains("cannot roll back to"),
        "{}",
        command.log()
    );
    world.stop_up().await;
}

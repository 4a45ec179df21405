//! One of several embedders can't follow to another model; the default model is named, and has
//! become another version.

use super::lost::copy_model;
use super::{OLD, has_rows, other_name, strange_model};
use crate::harness::World;
use lookalike_index::Index;

#[tokio::test]
async fn an_embedder_that_can_not_follow_leaves_the_work_to_those_that_can() {
    let mut world = World::new("aside");
    world.set("LOOKALIKE_NATS_LEASE", "2s");
    world.set("LOOKALIKE_NATS_ACK_WAIT", "5s");
    world.fill("", 6);
    let roles = world.start_roles().await;
    world.settled().await;
    let mut second = world.run(world.command("embed"), "embed-2");
    second.says("taking events").await;
    // It is not there when the others go over, and later the model's folder is gone.
    second.freeze();
    let folder = world.dir.path().canonicalize().unwrap().join("model");
    copy_model(&folder);
    world.goes_over(&[folder.to_str().unwrap()]).await;
    world.serves(&other_name()).await;
    std::fs::remove_dir_all(&folder).unwrap();
    second.wake();
    second.says("leaving the work to them").await;
    for round in 0..3 {
        world.fill(&format!("later {round}"), 20);
        world.settled().await;
    }
    // At once: no audit has had anything to repair.
    let (report, equal) = world.audit(&[]).await;
    assert!(equal && report["differences"] == 0, "{report}");
    let collections = world.collections().await;
    let name = collections.name_in_service().await.unwrap().unwrap();
    has_rows(&collections, &name, 66).await;
    let status = second.interrupt().await;
    assert!(status.success(), "{}", second.log());
    roles.stop().await;
}

#[tokio::test]
async fn named_or_not_the_default_model_of_another_version_makes_the_index_anew() {
    let mut world = World::new("version-named");
    world.fill("", 5);
    let settings = world.milvus_settings();
    let older = Index::open(&settings, &strange_model(OLD)).await.unwrap();
    let up = world.up_with(&["--model", OLD], "named");
    world.await_up(up).await;
    world.assert_index_equals_folder().await;
    let collections = world.collections().await;
    let previous = collections.previous().await.unwrap().unwrap();
    assert_eq!(previous.name, *older.collection());
    // Nobody has that version any more, so that nobody could work with it.
    let mut command = world.models_use(&["--rollback"]);
    command.arg("--yes");
    let mut command = world.run(command, "rollback");
    let status = command.end().await;
    assert_eq!(status.code(), Some(2), "{}", command.log());
    assert!(
        command.log().contains("can't be gone back to"),
        "{}",
        command.log()
    );
    world.stop().await;
}

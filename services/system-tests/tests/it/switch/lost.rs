//! The folder of the model in service is lost or moved; the command is stopped, or nobody can be
//! asked.

use std::path::Path;
use std::time::Duration;

use super::{OLD, other_model, other_name};
use crate::harness::{PATIENCE, Process, Proxy, Wire, World, eventually};

pub(super) fn copy_model(to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(other_model()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

impl World {
    pub(super) fn up_with(&self, words: &[&str], log: &str) -> Process {
        let mut command = self.command("up");
        command.args(words);
        self.run(command, log)
    }

    async fn refuses(&self, words: &[&str], log: &str) -> String {
        let mut up = self.up_with(words, log);
        let status = up.end().await;
        assert_eq!(status.code(), Some(2), "{}", up.log());
        up.log()
    }

    async fn source_in_service(&self) -> String {
        let in_service = self.collections().await.in_service().await.unwrap();
        in_service.unwrap().origin.source
    }
}

#[tokio::test]
async fn a_lost_folder_is_named_anew_or_the_model_before_comes_back() {
    let mut world = World::new("lostmodel");
    world.fill("", 6);
    world.start().await;
    world.settled().await;
    let place = |name: &str| {
        let folder = world.dir.path().canonicalize().unwrap().join(name);
        folder.to_str().unwrap().to_owned()
    };
    let (first, second, third) = (place("mymodel"), place("moved"), place("othercopy"));
    copy_model(Path::new(&first));
    world.goes_over(&[&first]).await;
    world.serves(&other_name()).await;
    world.stop().await;
    std::fs::rename(&first, &second).unwrap();
    let said = world.refuses(&[], "lost").await;
    for part in [
        &format!("its folder {first} is not there any more"),
        "name its new folder with --model, once",
        &format!("--model {OLD}"),
    ] {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
    // Named once, the new place is known from then on.
    let up = world.up_with(&["--model", &second], "moved-up");
    world.await_up(up).await;
    world.serves(&other_name()).await;
    assert_eq!(world.source_in_service().await, second);
    world.stop().await;
    world.start().await;
    copy_model(Path::new(&third));
    world.goes_over(&[&third]).await;
    assert_eq!(world.source_in_service().await, third);
    world.stop().await;
    // As long as it can be had, nothing goes back by itself.
    let said = world.refuses(&["--model", OLD], "refused").await;
    let data = world.data_dir();
    let command = format!(
        "while it runs, go over with `lookalike models use --data-dir {} {OLD}`",
        data.display()
    );
    assert!(said.contains(&command), "{said}");
    // Lost for good, and the folders changed meanwhile.
    std::fs::remove_dir_all(&second).unwrap();
    std::fs::remove_dir_all(&third).unwrap();
    world.fill("later", 3);
    std::fs::remove_file(world.photos.join("0.jpg")).unwrap();
    let up = world.up_with(&["--model", OLD], "back");
    world.await_up(up).await;
    world.serves(OLD).await;
    world.settled().await;
    world.equals().await;
    world.stop().await;
    world.start().await;
    world.assert_index_equals_folder().await;
    world.stop().await;
}

#[tokio::test]
async fn stopped_it_gives_up_its_claim_and_nothing_is_deleted_unasked() {
    let mut world = World::new("switchstop");
    // Longer than anybody would wait.
    world.set("LOOKALIKE_NATS_LEASE", "60s");
    world.fill("", 300);
    world.start().await;
    world.settled().await;
    let folder = other_model();
    let words = [folder.to_str().unwrap(), "--yes"];
    let wire = Proxy::before(&world.milvus_for_looks());
    wire.set(Wire::Slow(Duration::from_millis(60)));
    let collections = world.collections().await;
    let mut command = world.models_use(&words);
    command.args(["--milvus-url", &wire.url("http")]);
    let mut command = world.run(command, "stopped");
    eventually("it copies", PATIENCE, || async {
        let all = collections.all().await.map_err(|e| e.to_string())?;
        (all.len() > 1).then_some(()).ok_or("one".to_owned())
    })
    .await;
    command.signal(libc::SIGTERM);
    let status = command.end().await;
    let said = command.log();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains("stopped: nothing has changed for searches"),
        "{said}"
    );
    // The next one need not wait.
    let mut dropping = world.models_use(&["--drop-old", "--json"]);
    let output = tokio::task::spawn_blocking(move || dropping.output().unwrap());
    let output = output.await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("waiting for another"), "{said}");
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--yes"), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["needs_yes"], true, "{report}");
    assert_eq!(report["would_drop"].as_array().unwrap().len(), 1);
    assert_eq!(report["dropped"].as_array().unwrap().len(), 0);
    assert_eq!(collections.all().await.unwrap().len(), 2);
    world.stop().await;
}

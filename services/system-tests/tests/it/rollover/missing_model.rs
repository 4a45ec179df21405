//! The folder of the model in service is lost or moved; the command is stopped, or cannot ask for
//! consent.

use std::path::Path;
use std::time::Duration;

use super::{OLD, other_model, other_name};
use crate::harness::{Process, Proxy, SETTLE_TIMEOUT, SystemWorld, Wire, eventually};

pub(super) fn copy_model(to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(other_model()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

impl SystemWorld {
    pub(super) fn start_up_with(&self, arguments: &[&str], log: &str) -> Process {
        let mut command = self.role_command("up");
        command.args(arguments);
        self.start_command(command, log)
    }

    async fn expect_refusal(&self, arguments: &[&str], log: &str) -> String {
        let mut up = self.start_up_with(arguments, log);
        let status = up.wait_for_exit().await;
        assert_eq!(status.code(), Some(2), "{}", up.log());
        up.log()
    }

    async fn source_in_service(&self) -> String {
        let in_service = self.open_collections().await.in_service().await.unwrap();
        in_service.unwrap().model_source.locator
    }
}

#[tokio::test]
async fn a_missing_model_folder_is_named_again_or_the_previous_model_returns() {
    let mut world = SystemWorld::new("lostmodel");
    world.add_pictures("", 6);
    world.start_up().await;
    world.wait_until_settled().await;
    let place = |name: &str| {
        let folder = world.dir.path().canonicalize().unwrap().join(name);
        folder.to_str().unwrap().to_owned()
    };
    let (first, second, third) = (place("mymodel"), place("moved"), place("othercopy"));
    copy_model(Path::new(&first));
    world.roll_over_to(&[&first]).await;
    world.wait_until_served(&other_name()).await;
    world.stop_up().await;
    std::fs::rename(&first, &second).unwrap();
    let logged = world.expect_refusal(&[], "lost").await;
    for part in [
        &format!("its folder {first} does not exist any more"),
        "name its new folder with --model, once",
        &format!("--model {OLD}"),
    ] {
        assert!(logged.contains(part), "{part:?} is not in: {logged}");
    }
    // The new folder has to be named only once.
    let up = world.start_up_with(&["--model", &second], "moved-up");
    world.wait_for_up(up).await;
    world.wait_until_served(&other_name()).await;
    assert_eq!(world.source_in_service().await, second);
    world.stop_up().await;
    world.start_up().await;
    copy_model(Path::new(&third));
    world.roll_over_to(&[&third]).await;
    assert_eq!(world.source_in_service().await, third);
    world.stop_up().await;
    // While the model can be loaded, nothing is rolled back implicitly.
    let logged = world.expect_refusal(&["--model", OLD], "refused").await;
    let data = world.data_dir();
    let command = format!(
        "while it runs, roll over with `lookalike models use --data-dir {} {OLD}`",
        data.display()
    );
    assert!(logged.contains(&command), "{logged}");
    // Lost for good, and files changed meanwhile.
    std::fs::remove_dir_all(&second).unwrap();
    std::fs::remove_dir_all(&third).unwrap();
    world.add_pictures("later", 3);
    std::fs::remove_file(world.photos.join("0.jpg")).unwrap();
    let up = world.start_up_with(&["--model", OLD], "back");
    world.wait_for_up(up).await;
    world.wait_until_served(OLD).await;
    world.wait_until_settled().await;
    world.wait_until_audit_is_equal().await;
    world.stop_up().await;
    world.start_up().await;
    world.assert_index_equals_folder().await;
    world.stop_up().await;
}

#[tokio::test]
async fn a_stopped_rollover_releases_its_lease_and_deletes_nothing_unasked() {
    let mut world = SystemWorld::new("switchstop");
    // Longer than the test would wait.
    world.set_variable("LOOKALIKE_NATS_LEASE_TIMEOUT", "60s");
    world.add_pictures("", 300);
    world.start_up().await;
    world.wait_until_settled().await;
    let folder = other_model();
    let arguments = [folder.to_str().unwrap(), "--yes"];
    let wire = Proxy::in_front_of(&world.direct_milvus_url()).unwrap();
    wire.set_wire(Wire::Slow(Duration::from_millis(60)));
    let collections = world.open_collections().await;
    let mut command = world.models_use_command(&arguments);
    command.args(["--milvus-url", &wire.url("http")]);
    let mut command = world.start_command(command, "stopped");
    eventually("it copies", SETTLE_TIMEOUT, || async {
        let all = collections.list_all().await.map_err(|e| e.to_string())?;
        (all.len() > 1).then_some(()).ok_or("one".to_owned())
    })
    .await;
    command.send_signal(libc::SIGTERM);
    let status = command.wait_for_exit().await;
    let logged = command.log();
    assert_eq!(status.code(), Some(1), "{logged}");
    assert!(
        logged.contains("stopped: nothing has changed for searches"),
        "{logged}"
    );
    // The next command need not wait for the lease.
    let mut dropping = world.models_use_command(&["--drop-old", "--json"]);
    let output = tokio::task::spawn_blocking(move || dropping.output().unwrap());
    let output = output.await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("waiting for another"), "{stderr}");
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("--yes"), "{stderr}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["needs_yes"], true, "{report}");
    assert_eq!(report["would_drop"].as_array().unwrap().len(), 1);
    assert_eq!(report["dropped"].as_array().unwrap().len(), 0);
    assert_eq!(collections.list_all().await.unwrap().len(), 2);
    world.stop_up().await;
}

//! An index and a model that do not belong together: refused at the command line, with arguments that
//! say what to do.

use std::path::Path;

use lookalike_vision::MIN_GOLDEN_COSINE;

use crate::harness::{Process, SystemWorld};

/// Runs a role that must refuse to start, and gives its last arguments.
#[track_caller]
fn expect_refusal_line(world: &SystemWorld, role: &str, arguments: &[&str], code: i32) -> String {
    let output = world.role_command(role).args(arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{role}: {stderr}");
    stderr.lines().last().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn searching_and_ingesting_with_another_model_are_refused() {
    let world = SystemWorld::new("other-model");
    let serve =
        Process::start(world.role_command("serve"), &world.dir.path().join("serve")).unwrap();
    serve.read_address("address=").await;
    let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vision/reference/tiny-clip");
    let other = other.canonicalize().unwrap();
    let other = other.to_str().unwrap();
    for role in ["serve", "embed"] {
        let last_line = expect_refusal_line(&world, role, &["--model", other], 2);
        for part in [
            &format!("was made by the model \"lookalike-mini\", not by {other:?}"),
            "--model lookalike-mini",
            &format!("lookalike models use {other}"),
            "another milvus.namespace",
        ] {
            assert!(
                last_line.contains(part),
                "{role}: {part:?} is not in: {last_line}"
            );
        }
    }
}

/// As a driver would that computes something else, for which this test has no hardware: the index
/// was begun by a device that made another vector of the golden picture.
#[tokio::test]
async fn a_device_that_moves_vectors_is_refused() {
    let world = SystemWorld::new("golden");
    let index = world.open_index().await;
    let mut golden = vec![0.0; index.model().dimension];
    golden[0] = 1.0;
    index
        .verify_or_store_golden(&golden, MIN_GOLDEN_COSINE, "another device")
        .await
        .unwrap();
    let last_line = expect_refusal_line(&world, "embed", &[], 1);
    for part in [
        "another vector of the golden picture",
        "lookalike-mini (384 numbers) on cpu",
        "--device cpu",
        "another milvus.namespace",
    ] {
        assert!(last_line.contains(part), "{part:?} is not in: {last_line}");
    }
    // A service embeds nothing, and is not concerned.
    let serve =
        Process::start(world.role_command("serve"), &world.dir.path().join("serve")).unwrap();
    serve.read_address("address=").await;
}

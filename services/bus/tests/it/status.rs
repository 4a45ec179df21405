//! The status of the roles.

use lookalike_bus::{
    EmbedderDevice, EmbedderDeviceState, EmbedderStatus, FileCounts, LibraryStatus, Rates,
    RootFolder,
};
use lookalike_test_support::eventually;
use tokio_util::sync::CancellationToken;

use crate::{TEST_TIMEOUT, connect_bus, raw_jetstream};

fn library_status(name: &str, indexed: u64) -> LibraryStatus {
    LibraryStatus {
        name: name.into(),
        root: "/photos".into(),
        root_folder: Some(RootFolder {
            inode: 2,
            born_ns: 1_795_420_130_000_000_001,
        }),
        counts: FileCounts {
            on_disk: indexed + 1,
            indexed,
            in_flight: 1,
            ..FileCounts::default()
        },
        degraded: Vec::new(),
        scanning: false,
        scanned_once: true,
        standby: false,
        rates: Rates::default(),
    }
}

fn embedder_status(instance: &str) -> EmbedderStatus {
    EmbedderStatus {
        instance: instance.into(),
        model: "mini".into(),
        dimension: 384,
        checksum: "c0ffee".into(),
        device: "cpu".into(),
        devices: vec![EmbedderDevice {
            name: "cpu".into(),
            hardware: "2 threads".into(),
            state: EmbedderDeviceState::Failed,
            problem: Some("gives wrong vectors".into()),
            max_batch: 8,
            embedded: 1,
        }],
        embedded: 1,
        reused: 2,
        intake_paused: false,
        collection: "lookalike_mini_1".into(),
        other_served_models: vec!["bada55".into()],
        rollover_error: None,
    }
}

#[tokio::test]
async fn the_view_has_the_last_status_of_every_role() {
    let bus = connect_bus("status").await;
    bus.publish_library_status(&library_status("shop", 1))
        .await
        .unwrap();
    let shutdown = CancellationToken::new();
    let view = bus.watch_status(shutdown.clone());
    let wait_for = async |expected: Vec<LibraryStatus>| {
        eventually("the libraries are reported", TEST_TIMEOUT, || async {
            let libraries = view.libraries();
            (libraries == expected)
                .then_some(())
                .ok_or_else(|| format!("{libraries:?}"))
        })
        .await;
    };
    wait_for(vec![library_status("shop", 1)]).await;
    for status in [library_status("shop", 2), library_status("home", 3)] {
        bus.publish_library_status(&status).await.unwrap();
    }
    wait_for(vec![library_status("home", 3), library_status("shop", 2)]).await;

    let embedder = embedder_status("a");
    bus.publish_embedder_status(&embedder).await.unwrap();
    eventually("the embedder is reported", TEST_TIMEOUT, || async {
        let embedders = view.embedders_reported_within(TEST_TIMEOUT);
        (embedders == [embedder.clone()])
            .then_some(())
            .ok_or_else(|| format!("{embedders:?}"))
    })
    .await;
    assert!(embedder.serves_model("c0ffee") && embedder.serves_model("bada55"));
    assert!(!embedder.serves_model("0"));

    // A recreated bucket is noticed.
    let jetstream = raw_jetstream().await;
    jetstream.delete_key_value("status_status").await.unwrap();
    bus.ensure_streams().await.unwrap();
    bus.publish_library_status(&library_status("shop", 4))
        .await
        .unwrap();
    wait_for(vec![library_status("home", 3), library_status("shop", 4)]).await;
    shutdown.cancel();
}

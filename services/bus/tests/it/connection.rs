//! Connecting, and creating the streams.

use std::time::Duration;

use lookalike_bus::{Bus, Error, Settings};

use crate::{connect_bus, raw_jetstream, test_settings};

#[tokio::test]
async fn streams_are_created_once_and_again_when_they_are_lost() {
    let bus = connect_bus("connection").await;
    assert!(bus.is_connected());
    bus.check_jetstream().await.unwrap();
    bus.ensure_streams().await.unwrap();
    let (_, created_ns) = bus.queue_depth().await.unwrap();
    bus.ensure_streams().await.unwrap();
    assert_eq!(bus.queue_depth().await.unwrap().1, created_ns);

    let jetstream = raw_jetstream().await;
    jetstream.delete_stream("CONNECTION_EVENTS").await.unwrap();
    let missing = bus.queue_depth().await;
    assert!(matches!(missing, Err(Error::StreamMissing)), "{missing:?}");
    bus.ensure_streams().await.unwrap();
    assert!(bus.queue_depth().await.unwrap().1 > created_ns);
    bus.close().await;
}

#[tokio::test]
async fn opening_creates_no_streams() {
    let bus = Bus::open(&test_settings("opened"), "test").await.unwrap();
    let missing = bus.queue_depth().await;
    assert!(matches!(missing, Err(Error::StreamMissing)), "{missing:?}");
}

#[tokio::test]
async fn bad_settings_are_named() {
    for namespace in ["", "Upper", "a.b", &"x".repeat(33)] {
        let bus = Bus::open(&test_settings(namespace), "test").await;
        assert!(matches!(bus, Err(Error::InvalidNamespace(_))));
    }
    let settings = Settings {
        url: "nats://user:hush@127.0.0.1:1".into(),
        connect_timeout: Duration::from_millis(200),
        ..Settings::default()
    };
    let Err(error) = Bus::open(&settings, "test").await else {
        panic!("no server listens there");
    };
    let message = error.to_string();
    assert!(message.contains("127.0.0.1:1") && message.contains("--nats-url"));
    assert!(!message.contains("hush"), "{message}");
}

//! Leases and their epochs.

use std::time::Duration;

use lookalike_bus::Settings;
use lookalike_test_support::eventually;

use crate::{TEST_TIMEOUT, connect_bus, connect_with, test_settings};

#[tokio::test]
async fn a_lease_has_one_holder_until_it_is_released() {
    let bus = connect_bus("leases").await;
    let mut lease = bus.acquire_lease("library.shop", "a").await.unwrap();
    let lease = lease.as_mut().expect("it is free");
    assert!(lease.renew_lease().await.unwrap());
    let other = bus.acquire_lease("library.shop", "b").await.unwrap();
    assert!(other.is_none());
    let independent = bus.acquire_lease("library.home", "b").await.unwrap();
    assert!(independent.is_some());

    // The same holder acquires it at once, after a restart for example, and the old lease is lost.
    let restarted = bus.acquire_lease("library.shop", "a").await.unwrap();
    restarted
        .expect("the holder is the same")
        .release_lease()
        .await;
    assert!(!lease.renew_lease().await.unwrap());
    let other = bus.acquire_lease("library.shop", "b").await.unwrap();
    assert!(other.is_some());
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_expires() {
    let settings = Settings {
        lease_timeout: Duration::from_secs(1),
        ..test_settings("expiry")
    };
    let bus = connect_with(&settings).await;
    let lease = bus.acquire_lease("audit", "a").await.unwrap();
    let mut lease = lease.expect("it is free");
    assert_eq!(lease.timeout(), Duration::from_secs(1));
    eventually("it expires", TEST_TIMEOUT, || async {
        let other = bus.acquire_lease("audit", "b").await.unwrap();
        other.ok_or_else(|| "not yet".to_owned())
    })
    .await;
    assert!(!lease.renew_lease().await.unwrap());
}

#[tokio::test]
async fn the_last_epoch_is_kept() {
    let bus = connect_bus("epochs").await;
    assert_eq!(bus.last_epoch("library.shop").await.unwrap(), None);
    for epoch in ["a:1", "b:1"] {
        bus.record_epoch("library.shop", epoch).await.unwrap();
        let last = bus.last_epoch("library.shop").await.unwrap();
        assert_eq!(last.as_deref(), Some(epoch));
    }
}

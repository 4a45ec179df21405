//! The bus against a real nats-server on loopback.
//!
//! One server is started for all tests; every test has a namespace of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod connection;
mod events;
mod hedging;
mod leases;
mod outcomes;
mod requests;
mod saved_searches;
mod status;

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use lookalike_bus::{Bus, Settings};
use lookalike_proto::{
    FileEvent, FileEventKind, Generation, ImageId, LibraryName, Outcome, OutcomeState,
    RelativePath, Timings,
};
use lookalike_servers::WantedServers;
use lookalike_test_support::servers::{SharedServers, data_folder};

/// Time limit of everything that a test waits for.
const TEST_TIMEOUT: Duration = Duration::from_secs(30);

const NATS_ONLY: WantedServers = WantedServers {
    nats: true,
    milvus: false,
};

/// Returns the address of the shared server; the first call starts it.
fn nats_url() -> &'static str {
    static SERVERS: LazyLock<SharedServers> = LazyLock::new(|| {
        let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
        SharedServers::start(data_folder(base, "bus-tests"), NATS_ONLY)
    });
    SERVERS.nats_url.as_deref().expect("it was requested")
}

/// Returns settings with a namespace of the test's own and limits that suit one server.
fn test_settings(namespace: &str) -> Settings {
    Settings {
        url: nats_url().to_owned(),
        namespace: namespace.to_owned(),
        max_events_bytes: 4 << 20,
        max_outcomes_bytes: 4 << 20,
        ..Settings::default()
    }
}

async fn connect_bus(namespace: &str) -> Bus {
    connect_with(&test_settings(namespace)).await
}

async fn connect_with(settings: &Settings) -> Bus {
    Bus::connect(settings, "test").await.unwrap()
}

/// Connects without the bus, to do what it never does.
async fn raw_jetstream() -> async_nats::jetstream::Context {
    let client = async_nats::connect(nats_url()).await.unwrap();
    async_nats::jetstream::new(client)
}

fn library() -> LibraryName {
    LibraryName::new("shop").unwrap()
}

fn image_id(number: u8) -> ImageId {
    ImageId::from_bytes([number; 16])
}

/// Returns the event for the first generation of one image.
fn file_event(number: u8) -> FileEvent {
    FileEvent {
        image_id: image_id(number),
        library: library(),
        path: RelativePath::new(format!("{number}.jpg")).unwrap(),
        kind: FileEventKind::Put,
        generation: Generation::from_u64(1),
        attempt: 1,
        size: 5,
        mtime_ns: 6,
        observed_at_ns: 7,
    }
}

/// Returns the outcome of the first generation of one image.
fn indexed_outcome(number: u8, library: LibraryName) -> Outcome {
    Outcome {
        image_id: image_id(number),
        library,
        generation: Generation::from_u64(1),
        state: OutcomeState::Indexed,
        content_hash: None,
        model: "mini".into(),
        attributes: None,
        timings: Timings::default(),
        deliveries: 1,
        reused: false,
    }
}

//! The contexts of the roles' crates.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use lookalike_bus::{Bus, StatusView};
use lookalike_index::Index;
use lookalike_proto::LibraryName;
use lookalike_vision::{Description, Engine, Limits};

use super::role::AppRole;
use crate::settings::Settings;

pub(super) fn embedder_context(
    role: AppRole,
    settings: &Settings,
    libraries: BTreeMap<LibraryName, PathBuf>,
    bus: Bus,
    index: Index,
    engine: Arc<Engine>,
) -> lookalike_embedder::Context {
    // Unique among the embedders of an installation, on any machine.
    let nanos = lookalike_chassis::clock::now_nanos();
    let instance = format!("{:x}-{:x}", std::process::id(), nanos & 0xffff_ffff);
    lookalike_embedder::Context {
        settings: settings.embed.clone(),
        libraries,
        bus,
        ack_wait: settings.nats.ack_wait,
        index,
        engine,
        limits: Limits::from(&settings.vision),
        decode_threads: settings.vision.decode_threads(),
        audit: settings.audit.clone(),
        // A role that runs alone has a supervisor that restarts it.
        has_supervisor: role != AppRole::All,
        instance,
    }
}

pub(super) fn search_context(
    settings: &Settings,
    libraries: BTreeMap<LibraryName, PathBuf>,
    bus: Bus,
    index: Index,
    description: Description,
    status: StatusView,
) -> lookalike_search::Context {
    let permissions = settings.library_permissions(&libraries);
    lookalike_search::Context {
        permissions,
        bus,
        index,
        description,
        limits: Limits::from(&settings.vision),
        libraries,
        status,
        settings: settings.http.clone(),
        saved_searches: settings.saved_searches.clone(),
        webhooks: settings.webhooks.clone(),
        uploads: settings.uploads.clone(),
    }
}

//! The status operations: counts, libraries and the model, as watchers and embedders report them.

use std::collections::BTreeSet;
use std::path::Path;

use lookalike_bus::{EmbedderDeviceState, EmbedderStatus, LibraryStatus};
use lookalike_proto::LibraryName;
use poem_openapi::OpenApi;

use super::params::ServiceData;
use super::refusals::StatusRefusal;
use super::responses::JsonAnswer;
use super::schema::{
    DegradedBody, DeviceBody, DeviceStateBody, LibraryBody, LibraryList, ModelBody, RatesBody,
    Stats,
};
use super::tags::Tag;
use crate::core::event_feed::sum_known;
use crate::core::service::SearchService;
use crate::time;
use crate::uploads::permission::permissions_of;

pub(crate) struct StatusApi;

#[OpenApi]
impl StatusApi {
    /// Counts, model and throughput
    ///
    /// Always `on_disk = indexed + failed + ignored + in_flight`. Counts are null while they are not
    /// known, because no watcher has reported its library.
    #[oai(
        path = "/v1/stats",
        method = "get",
        operation_id = "getStats",
        tag = "Tag::Status"
    )]
    async fn get_stats(
        &self,
        service: ServiceData<'_>,
    ) -> Result<JsonAnswer<Stats>, StatusRefusal> {
        Ok(JsonAnswer(collect_stats(&service)))
    }

    /// The watched folders
    #[oai(
        path = "/v1/libraries",
        method = "get",
        operation_id = "listLibraries",
        tag = "Tag::Status"
    )]
    async fn list_libraries(
        &self,
        service: ServiceData<'_>,
    ) -> Result<JsonAnswer<LibraryList>, StatusRefusal> {
        let libraries = list_libraries(&service);
        Ok(JsonAnswer(LibraryList { libraries }))
    }
}

/// Lists the visible libraries that are configured here or reported by a watcher, ordered by name.
fn list_libraries(service: &SearchService) -> Vec<LibraryBody> {
    let reported = service.library_statuses();
    let unreported = service
        .configured_libraries()
        .filter(|(name, _)| reported.iter().all(|status| status.name != name.as_str()))
        .map(|(name, root)| library_without_watcher(name, root));
    let mut all: Vec<LibraryBody> = unreported.collect();
    all.extend(reported.into_iter().map(to_library_body));
    all.sort_by(|a, b| a.name.cmp(&b.name));
    for library in &mut all {
        let name = LibraryName::new(&library.name);
        let permissions = name.map(|name| permissions_of(service, &name));
        let permissions = permissions.unwrap_or_default();
        library.uploads = permissions.uploads;
        library.deletions = permissions.deletions;
    }
    all
}

fn to_library_body(status: LibraryStatus) -> LibraryBody {
    let degraded = status.degraded.into_iter().map(|degraded| DegradedBody {
        reason: degraded.reason,
        detail: degraded.detail,
        since: Some(time::format_time(degraded.since_ms)),
    });
    LibraryBody {
        name: status.name,
        root: status.root,
        on_disk: Some(status.counts.on_disk),
        indexed: Some(status.counts.indexed),
        failed: Some(status.counts.failed),
        ignored: Some(status.counts.ignored),
        in_flight: Some(status.counts.in_flight),
        uploads: false,
        deletions: false,
        degraded: degraded.collect(),
        scanning: Some(status.scanning),
        files_per_second: Some(round_rate(status.rates.files_per_second)),
    }
}

/// The counts are unknown; `degraded` contains the reason.
fn library_without_watcher(name: &LibraryName, root: &Path) -> LibraryBody {
    LibraryBody {
        name: name.to_string(),
        root: root.display().to_string(),
        on_disk: None,
        indexed: None,
        failed: None,
        ignored: None,
        in_flight: None,
        uploads: false,
        deletions: false,
        degraded: vec![DegradedBody {
            reason: "no_watcher".into(),
            detail: "no watcher reports this library; is `lookalike watch` running?".into(),
            since: None,
        }],
        scanning: None,
        files_per_second: None,
    }
}

fn round_rate(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}

fn collect_stats(service: &SearchService) -> Stats {
    let libraries = list_libraries(service);
    let mut embedders = service.embedder_statuses();
    let serving = service.load_model();
    let embedder_errors = embedders
        .iter()
        .filter_map(|embedder| embedder.rollover_error.clone());
    let rollover_error = service
        .rollover_error()
        .into_iter()
        .chain(embedder_errors)
        .next();
    let unresponsive_embedders = list_unresponsive(service, &embedders);
    embedders.retain(|embedder| embedder.serves_model(&serving.description.checksum));
    let intake_paused = embedders.iter().any(|embedder| embedder.intake_paused);
    let lines: BTreeSet<&str> = embedders.iter().map(|embedder| &*embedder.device).collect();
    let device = Vec::from_iter(lines).join("; ");
    let devices = embedders.iter().flat_map(list_devices).collect();
    let model = &serving.description;
    let stats = sum_libraries(
        libraries,
        ModelBody {
            name: model.name.clone(),
            dimension: u32::try_from(model.dimension).unwrap_or(u32::MAX),
            checksum: model.checksum.clone(),
            text: model.has_text(),
        },
    );
    Stats {
        device: (!embedders.is_empty()).then_some(device),
        devices,
        intake_paused,
        rollover_error,
        unresponsive_embedders,
        ..stats
    }
}

/// Names the embedders of the model in service that react to no request, with their devices.
fn list_unresponsive(service: &SearchService, embedders: &[EmbedderStatus]) -> Vec<String> {
    let subject = service.load_model().request_subject();
    let instances = service.embedders().unresponsive_embedders(&subject);
    let described = instances.into_iter().map(|instance| {
        let mut reported = embedders.iter();
        match reported.find(|embedder| embedder.instance == instance) {
            Some(embedder) => format!("{instance} ({})", embedder.device),
            None => instance,
        }
    });
    described.collect()
}

fn list_devices(embedder: &EmbedderStatus) -> impl Iterator<Item = DeviceBody> {
    embedder.devices.iter().map(|device| DeviceBody {
        device: device.name.clone(),
        hardware: device.hardware.clone(),
        state: match device.state {
            EmbedderDeviceState::Opening => DeviceStateBody::Opening,
            EmbedderDeviceState::Ready => DeviceStateBody::Ready,
            EmbedderDeviceState::Standby => DeviceStateBody::Standby,
            EmbedderDeviceState::Failed => DeviceStateBody::Failed,
        },
        problem: device.problem.clone(),
        max_batch: u32::try_from(device.max_batch).unwrap_or(u32::MAX).max(1),
        embedded: device.embedded,
        embedder: embedder.instance.clone(),
    })
}

fn sum_libraries(libraries: Vec<LibraryBody>, model: ModelBody) -> Stats {
    let sum = |count: fn(&LibraryBody) -> Option<u64>| sum_known(&libraries, count);
    Stats {
        on_disk: sum(|library| library.on_disk),
        indexed: sum(|library| library.indexed),
        failed: sum(|library| library.failed),
        ignored: sum(|library| library.ignored),
        in_flight: sum(|library| library.in_flight),
        rates: RatesBody {
            files_per_second: sum_known(&libraries, |library| library.files_per_second)
                .map(round_rate),
        },
        libraries,
        model,
        device: None,
        devices: Vec::new(),
        intake_paused: false,
        rollover_error: None,
        unresponsive_embedders: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use poem_openapi::types::{Example as _, ToJSON as _};

    #[test]
    fn counts_are_summed() {
        let library = LibraryBody::example();
        let stats = sum_libraries(vec![library.clone(), library], ModelBody::example());
        assert_eq!(stats.on_disk, Some(2 * 1368));
        let counts = [stats.indexed, stats.failed, stats.ignored, stats.in_flight];
        let sum: Option<u64> = counts.into_iter().sum();
        assert_eq!(stats.on_disk, sum);
        assert_eq!(stats.rates.files_per_second, Some(195.0));
    }

    #[test]
    fn what_no_watcher_reports_is_unknown() {
        let unreported =
            library_without_watcher(&LibraryName::new("shop").unwrap(), Path::new("/shop"));
        let reported = LibraryBody::example();
        for libraries in [
            vec![],
            vec![unreported.clone()],
            vec![reported.clone(), unreported],
        ] {
            let stats = sum_libraries(libraries, ModelBody::example());
            let answer = stats.to_json().unwrap();
            for count in ["on_disk", "indexed", "failed", "ignored", "in_flight"] {
                assert!(answer[count].is_null(), "{count}: {answer}");
            }
            assert!(answer["rates"]["files_per_second"].is_null(), "{answer}");
        }
        let known = sum_libraries(vec![reported], ModelBody::example());
        assert_eq!(known.in_flight, Some(54));
    }
}

//! The status operations: counts, libraries and the model, as watchers and embedders report them.

use std::collections::BTreeSet;
use std::path::Path;

use lookalike_bus::{EmbedderStatus, FileCounts, LibraryStatus};
use lookalike_proto::LibraryName;
use poem_openapi::OpenApi;

use super::params::ServiceData;
use super::refusals::StatusRefusal;
use super::responses::JsonAnswer;
use super::schema::{DegradedBody, LibraryBody, LibraryList, ModelBody, RatesBody, Stats};
use super::tags::Tag;
use crate::core::service::SearchService;
use crate::time;

pub(crate) struct StatusApi;

#[OpenApi]
impl StatusApi {
    /// Counts, model and throughput
    ///
    /// Always `on_disk = indexed + failed + ignored + in_flight`.
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

/// Lists the libraries that are configured here or reported by a watcher, ordered by name.
fn list_libraries(service: &SearchService) -> Vec<LibraryBody> {
    let reported = service.status.libraries();
    let unreported = service
        .libraries
        .iter()
        .filter(|(name, _)| reported.iter().all(|status| status.name != name.as_str()))
        .map(|(name, root)| library_without_watcher(name, root));
    let mut all: Vec<LibraryBody> = unreported.collect();
    all.extend(reported.into_iter().map(to_library_body));
    all.sort_by(|a, b| a.name.cmp(&b.name));
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
        on_disk: status.counts.on_disk,
        indexed: status.counts.indexed,
        failed: status.counts.failed,
        ignored: status.counts.ignored,
        in_flight: status.counts.in_flight,
        degraded: degraded.collect(),
        scanning: status.scanning,
        files_per_second: round_rate(status.rates.files_per_second),
    }
}

/// The counts are unknown; `degraded` contains the reason.
fn library_without_watcher(name: &LibraryName, root: &Path) -> LibraryBody {
    LibraryBody {
        name: name.to_string(),
        root: root.display().to_string(),
        on_disk: 0,
        indexed: 0,
        failed: 0,
        ignored: 0,
        in_flight: 0,
        degraded: vec![DegradedBody {
            reason: "no_watcher".into(),
            detail: "no watcher reports this library; is `lookalike watch` running?".into(),
            since: None,
        }],
        scanning: false,
        files_per_second: 0.0,
    }
}

fn round_rate(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}

fn collect_stats(service: &SearchService) -> Stats {
    let libraries = list_libraries(service);
    let mut embedders = service.status.embedders();
    let serving = service.model.load();
    let embedder_errors = embedders
        .iter()
        .filter_map(|embedder| embedder.rollover_error.clone());
    let rollover_error = service
        .model
        .rollover_error()
        .into_iter()
        .chain(embedder_errors)
        .next();
    let unresponsive_embedders = list_unresponsive(service, &embedders);
    embedders.retain(|embedder| embedder.serves_model(&serving.description.checksum));
    let intake_paused = embedders.iter().any(|embedder| embedder.intake_paused);
    let devices: BTreeSet<String> = embedders
        .into_iter()
        .map(|embedder| embedder.device)
        .collect();
    let devices: Vec<String> = devices.into_iter().collect();
    let model = &serving.description;
    let stats = sum_libraries(
        libraries,
        ModelBody {
            name: model.name.clone(),
            dimension: u32::try_from(model.dimension).unwrap_or(u32::MAX),
            checksum: model.checksum.clone(),
            text: model.has_text(),
        },
        (!devices.is_empty()).then(|| devices.join("; ")),
    );
    Stats {
        intake_paused,
        rollover_error,
        unresponsive_embedders,
        ..stats
    }
}

/// Names the embedders of the model in service that react to no request, with their devices.
fn list_unresponsive(service: &SearchService, embedders: &[EmbedderStatus]) -> Vec<String> {
    let subject = service.model.load().request_subject();
    let instances = service.bus.unresponsive_embedders(&subject).into_iter();
    let described = instances.map(|instance| {
        let mut reported = embedders.iter();
        match reported.find(|embedder| embedder.instance == instance) {
            Some(embedder) => format!("{instance} ({})", embedder.device),
            None => instance,
        }
    });
    described.collect()
}

fn sum_libraries(libraries: Vec<LibraryBody>, model: ModelBody, device: Option<String>) -> Stats {
    let counts = libraries
        .iter()
        .fold(FileCounts::default(), |sum, library| {
            sum.sum_with(FileCounts {
                on_disk: library.on_disk,
                indexed: library.indexed,
                failed: library.failed,
                ignored: library.ignored,
                in_flight: library.in_flight,
            })
        });
    let rate = libraries.iter().map(|library| library.files_per_second);
    Stats {
        on_disk: counts.on_disk,
        indexed: counts.indexed,
        failed: counts.failed,
        ignored: counts.ignored,
        in_flight: counts.in_flight,
        rates: RatesBody {
            files_per_second: round_rate(rate.sum()),
        },
        libraries,
        model,
        device,
        intake_paused: false,
        rollover_error: None,
        unresponsive_embedders: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use poem_openapi::types::Example as _;

    #[test]
    fn counts_are_summed() {
        let library = LibraryBody::example();
        let stats = sum_libraries(vec![library.clone(), library], ModelBody::example(), None);
        assert_eq!(stats.on_disk, 2 * 1368);
        assert_eq!(
            stats.on_disk,
            stats.indexed + stats.failed + stats.ignored + stats.in_flight
        );
        assert_eq!(stats.rates.files_per_second, 195.0);
    }
}

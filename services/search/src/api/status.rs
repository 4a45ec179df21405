//! What the watchers and embedders tell of themselves: counts, libraries, and whether a search would
//! be answered now.

use std::collections::BTreeSet;
use std::time::Duration;

use lookalike_bus::{FileCounts, LibraryStatus};
use lookalike_proto::LibraryName;

use crate::api::schema::{DegradedBody, LibraryBody, ModelBody, RatesBody, Stats};
use crate::core::service::SearchService;
use crate::problem::{Code, Problem};
use crate::time;

/// Every library that is configured here or told of by a watcher, by name.
pub(crate) fn list_libraries(service: &SearchService) -> Vec<LibraryBody> {
    let told = service.status.libraries();
    let silent = service
        .libraries
        .iter()
        .filter(|(name, _)| told.iter().all(|status| status.name != name.as_str()))
        .map(|(name, root)| library_without_watcher(name, root));
    let mut all: Vec<LibraryBody> = silent.collect();
    all.extend(told.into_iter().map(to_library_body));
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

/// Nothing is known of its files: zeros, and the reason why.
fn library_without_watcher(name: &LibraryName, root: &std::path::Path) -> LibraryBody {
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
            detail: "no watcher tells of this library now; is `lookalike watch` running?".into(),
            since: None,
        }],
        scanning: false,
        files_per_second: 0.0,
    }
}

fn round_rate(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}

/// Sums, libraries, model, device and rates.
pub(crate) fn collect_stats(service: &SearchService) -> Stats {
    let libraries = list_libraries(service);
    let mut embedders = service.status.embedders();
    let serving = service.serving();
    let behind = embedders
        .iter()
        .filter_map(|one| one.rollover_error.clone());
    let rollover_error = service.rollover_error().into_iter().chain(behind).next();
    embedders.retain(|embedder| embedder.serves_model(&serving.description.checksum));
    let intake_paused = embedders.iter().any(|embedder| embedder.intake_paused);
    let devices: BTreeSet<String> = embedders.into_iter().map(|one| one.device).collect();
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
        rollover_error: rollover_error,
        ..stats
    }
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
    }
}

/// How long a part may take to show that it works: whoever asks for readiness asks again soon.
const READINESS_TIMEOUT: Duration = Duration::from_secs(3);

/// Whether a search would be answered now; all reasons why not.
pub(crate) async fn check_ready(service: &SearchService) -> Result<(), Problem> {
    let mut reasons = Vec::new();
    let serving = service.serving();
    // A connection stands for a while after the server behind it froze: only an answer counts.
    let (nats, index) = tokio::join!(
        tokio::time::timeout(READINESS_TIMEOUT, service.bus.check_jetstream()),
        tokio::time::timeout(READINESS_TIMEOUT, serving.index.check_ready()),
    );
    let slow = |what: &str| {
        format!(
            "{what} did not answer within {} s",
            READINESS_TIMEOUT.as_secs()
        )
    };
    match nats {
        Err(_) => reasons.push(slow("NATS")),
        Ok(Err(error)) => reasons.push(error.to_string()),
        Ok(Ok(())) => {}
    }
    match index {
        Err(_) => reasons.push(slow("the index")),
        Ok(Err(error)) => reasons.push(error.to_string()),
        Ok(Ok(())) => {}
    }
    let model = &serving.description;
    let embedders = service.status.embedders();
    if !embedders.iter().any(|e| e.serves_model(&model.checksum)) {
        reasons.push(format!(
            "no embedder with the model {} tells of itself",
            model.name
        ));
    }
    if reasons.is_empty() {
        Ok(())
    } else {
        Err(Problem::new(Code::NotReady, reasons.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use poem_openapi::types::Example as _;

    #[test]
    fn sums_add_up() {
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

//! The servers that already run: NATS, Milvus and the service.

use std::time::Duration;

use lookalike_client::format_error;
use lookalike_index::Collections;

use super::finding::{Finding, count_of, shell_quote};
use super::installation::Installation;
use crate::connect::open_bus;
use crate::settings::Settings;

/// Checks the servers of the running lookalike, and those that the settings name.
pub(super) async fn check_servers(installation: &Installation) -> Vec<Finding> {
    let mut settings = installation.settings.clone();
    if let Some(running) = &installation.running {
        for (url, found) in [
            (&mut settings.nats.url, &running.nats_url),
            (&mut settings.milvus.url, &running.milvus_url),
        ] {
            if url.is_empty() {
                url.clone_from(found);
            }
        }
    }
    // The connection gives up before the check does, and reports why.
    let limit = installation.limit;
    settings.nats.connect_timeout = settings.nats.connect_timeout.min(limit.mul_f32(0.5));
    settings.milvus.connect_timeout = settings.milvus.connect_timeout.min(limit.mul_f32(0.5));
    let (nats, milvus) = tokio::join!(check_nats(&settings, limit), check_milvus(&settings, limit));
    let mut findings: Vec<Finding> = nats.into_iter().chain(milvus).collect();
    findings.extend(judge_service(installation));
    findings
}

async fn check_nats(settings: &Settings, limit: Duration) -> Option<Finding> {
    const CHECK: &str = "nats";
    if settings.nats.url.is_empty() {
        return None;
    }
    let request = async {
        let bus = open_bus(settings, "doctor").await?;
        let answered = bus.check_jetstream().await;
        let version = bus.server_version();
        bus.close().await;
        answered?;
        anyhow::Ok(version)
    };
    Some(match tokio::time::timeout(limit, request).await {
        Ok(Ok(version)) => Finding::ok(
            CHECK,
            format!("nats-server {version} is reachable, and JetStream answers"),
        ),
        Ok(Err(error)) => Finding::failure(
            CHECK,
            format_error(&error),
            status_command(settings, "nats"),
        ),
        Err(_) => Finding::failure(
            CHECK,
            format!("NATS did not answer within {limit:?}"),
            status_command(settings, "nats"),
        ),
    })
}

async fn check_milvus(settings: &Settings, limit: Duration) -> Option<Finding> {
    const CHECK: &str = "milvus";
    if settings.milvus.url.is_empty() {
        return None;
    }
    let request = async {
        let collections = Collections::open(&settings.milvus).await?;
        collections.name_in_service().await
    };
    Some(match tokio::time::timeout(limit, request).await {
        Ok(Ok(Some(name))) => Finding::ok(CHECK, format!("Milvus answers; {name} is in service")),
        Ok(Ok(None)) => Finding::ok(CHECK, "Milvus answers; it has no index yet"),
        Ok(Err(error)) => {
            Finding::failure(CHECK, error.to_string(), status_command(settings, "milvus"))
        }
        Err(_) => Finding::failure(
            CHECK,
            format!("Milvus did not answer within {limit:?}"),
            status_command(settings, "milvus"),
        ),
    })
}

/// A command that shows what a server reports. Servers of `up` have logs in its data folder.
fn status_command(settings: &Settings, server: &str) -> String {
    let Ok(data_dir) = settings.data_dir() else {
        return "lookalike up".to_owned();
    };
    let log = data_dir.join(server);
    match log.is_dir() {
        true => format!("tail {}/*.log", shell_quote(&log.to_string_lossy())),
        false => format!("lookalike config get {server}.url"),
    }
}

fn judge_service(installation: &Installation) -> Option<Finding> {
    const CHECK: &str = "service";
    Some(match installation.stats.as_ref()? {
        Err(error) => Finding::failure(CHECK, error.clone(), "lookalike up"),
        Ok(stats) => {
            let degraded: Vec<String> = stats["libraries"]
                .as_array()
                .into_iter()
                .flatten()
                .flat_map(|library| {
                    let name = library["name"].as_str().unwrap_or("?");
                    let reasons = library["degraded"].as_array().into_iter().flatten();
                    reasons
                        .filter_map(|reason| reason["reason"].as_str())
                        .map(move |reason| format!("{name}: {reason}"))
                })
                .collect();
            let files = stats["on_disk"].as_u64();
            match (degraded.as_slice(), stats["intake_paused"] == true) {
                ([], false) => Finding::ok(
                    CHECK,
                    match files {
                        Some(files) => {
                            format!("the service answers; it knows {}", count_of(files, "file"))
                        }
                        None => "the service answers".to_owned(),
                    },
                ),
                ([], true) => Finding::warning(
                    CHECK,
                    "new files wait: Milvus accepts no writes, or a mount is unavailable",
                    "lookalike status",
                ),
                (reasons, _) => Finding::warning(CHECK, reasons.join(", "), "lookalike status"),
            }
        }
    })
}

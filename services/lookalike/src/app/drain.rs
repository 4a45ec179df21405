//! Stops everything in order: service, embedder, watcher, servers.

use std::time::{Duration, Instant};

use anyhow::Result;
use lookalike_client::RunningInstance;
use lookalike_index::Collections;

use super::progress::UpProgress;
use super::role::AppRole;
use super::role_task::RoleTask;
use super::running::RunningApp;

/// How long `up` may take until only its servers are left to stop. A role that runs alone is
/// bounded by the shutdown timeout of the process instead.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(21);
const SERVICE_DRAIN_TIMEOUT: Duration = Duration::from_secs(4);
const FLUSH_TIMEOUT: Duration = Duration::from_secs(6);
const METRICS_STOP_TIMEOUT: Duration = Duration::from_secs(2);
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

impl RunningApp {
    /// Stops the roles and the servers. `up` bounds each wait, so a hanging role cannot block the
    /// last step. Unfinished work is unacknowledged and is repeated after the next start.
    ///
    /// # Errors
    /// If a role that runs alone fails to finish its work. `up` only logs it.
    pub(super) async fn drain(self, progress: &UpProgress) -> Result<()> {
        let started_at = Instant::now();
        let is_up = self.role == AppRole::All;
        let within = |limit: Duration| match is_up {
            true => DRAIN_TIMEOUT
                .saturating_sub(started_at.elapsed())
                .min(limit),
            false => Duration::MAX,
        };
        if is_up {
            progress
                .print_line("stopping: finishing work in progress (Ctrl-C again stops at once)");
        }
        let mut results = Vec::new();
        // Join the service before the embedder: requests in progress still need vectors.
        // Metrics and health checks of a role that runs alone are served to the end.
        let (service, metrics) = match self.role.has_service() {
            true => (Some(self.http), None),
            false => (None, Some(self.http)),
        };
        for task in service.iter().chain(&self.embedder) {
            task.request_stop();
        }
        if let Some(service) = service {
            results.extend(service.join_within(within(SERVICE_DRAIN_TIMEOUT)).await);
        }
        let mut is_drained = true;
        if let Some(embedder) = self.embedder {
            let timeout = within(DRAIN_TIMEOUT);
            is_drained = join_embedder(embedder, timeout, &mut results).await;
        }
        // The watcher bounds its own shutdown. It reads the last outcomes of the embedder after the
        // next start.
        if let Some(watcher) = self.watcher {
            watcher.stop().await;
        }
        if let Some(collections) = self.collections_to_flush
            && is_drained
        {
            flush_index(&collections, within(FLUSH_TIMEOUT)).await;
        }
        if let Some(metrics) = metrics {
            metrics.request_stop();
            metrics.join_within(METRICS_STOP_TIMEOUT).await;
        }
        let _ = tokio::time::timeout(DISCONNECT_TIMEOUT, self.bus.close()).await;
        if is_up && let Some(data_dir) = &self.data_dir {
            RunningInstance::remove_from(data_dir);
        }
        if let Some(servers) = self.servers {
            servers.stop().await;
        }
        if is_up {
            progress.print_line(&format!(
                "stopped after {:.1} s",
                started_at.elapsed().as_secs_f64()
            ));
        }
        report_results(results, is_up)
    }
}

/// Returns whether the embedder has ended.
async fn join_embedder(
    embedder: RoleTask,
    timeout: Duration,
    results: &mut Vec<Result<()>>,
) -> bool {
    if embedder.is_finished() {
        return true;
    }
    let result = embedder.join_within(timeout).await;
    let is_drained = result.is_some();
    results.extend(result);
    is_drained
}

/// Flushes the index, which only makes the next start of Milvus faster: its log has all data.
async fn flush_index(collections: &Collections, timeout: Duration) {
    match tokio::time::timeout(timeout, collections.flush_in_service()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::info!(%error, "the index was not flushed"),
        Err(_) => tracing::info!("the index was not flushed in time"),
    }
}

fn report_results(results: Vec<Result<()>>, is_up: bool) -> Result<()> {
    for result in results {
        match result {
            Err(error) if is_up => tracing::warn!("{error:#}"),
            result => result?,
        }
    }
    Ok(())
}

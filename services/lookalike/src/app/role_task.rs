//! A role that runs as a task, and the token that stops it.

use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(super) struct RoleTask {
    name: &'static str,
    stop: CancellationToken,
    handle: JoinHandle<Result<()>>,
}

impl RoleTask {
    /// Spawns a role, which must return soon after `stop` is cancelled.
    pub(super) fn spawn<E>(
        name: &'static str,
        stop: CancellationToken,
        role: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> Self
    where
        E: Into<anyhow::Error>,
    {
        let handle = tokio::spawn(async move { role.await.map_err(Into::into) });
        Self { name, stop, handle }
    }

    /// Waits until the role ends without being asked to, and returns the reason.
    pub(super) async fn unexpected_exit(&mut self) -> anyhow::Error {
        match (&mut self.handle).await {
            Ok(Err(error)) => error,
            Ok(Ok(())) => anyhow!("the {} stopped unexpectedly", self.name),
            Err(error) => anyhow!("the {} crashed: {error}", self.name),
        }
    }

    pub(super) fn request_stop(&self) {
        self.stop.cancel();
    }

    pub(super) fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Waits until the role has ended. `None`: it is still running after `timeout`, or had ended
    /// before.
    pub(super) async fn join_within(self, timeout: Duration) -> Option<Result<()>> {
        if self.handle.is_finished() {
            return None;
        }
        let joined = tokio::time::timeout(timeout, self.handle).await.ok()?;
        Some(joined.unwrap_or_else(|error| Err(anyhow!("the {} crashed: {error}", self.name))))
    }
}

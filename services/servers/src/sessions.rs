//! Ends the sessions of a killed Milvus, so that the next start does not wait until they expire.
//!
//! Each component of Milvus registers in the embedded etcd with a lease. Milvus does not exit on
//! SIGTERM, so these leases outlive it by `session.ttl`. Meanwhile a new process finds the
//! components of the old one, and waits for answers from them. The leases of a starting Milvus are
//! therefore stored in its folder, and the next start revokes them as soon as etcd answers. To
//! Milvus this is the same as their expiry. It never affects the new process, because etcd does
//! not use a lease id twice.
//!
//! No error is returned: without this step, a start only takes longer.

use std::path::PathBuf;
use std::time::Duration;

use lookalike_chassis::durable::replace_file;
use serde::Deserialize;

/// Wait until etcd is asked again.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);
/// Wait until the leases of a starting Milvus are stored again.
const STORE_INTERVAL: Duration = Duration::from_millis(500);
/// Time limit of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// The leases of Milvus' sessions, in etcd and in a file.
pub(crate) struct SessionLeases<'a> {
    pub http: &'a reqwest::Client,
    pub etcd_port: u16,
    /// Contains the lease ids of the last Milvus, as a JSON list of strings.
    pub file: PathBuf,
}

/// The answer of `/v3/lease/leases`. etcd's JSON gateway writes 64-bit numbers as strings.
#[derive(Deserialize)]
struct EtcdLeases {
    #[serde(default)]
    leases: Vec<EtcdLease>,
}

#[derive(Deserialize)]
struct EtcdLease {
    #[serde(rename = "ID")]
    id: String,
}

impl SessionLeases<'_> {
    /// Stores the leases that exist now.
    pub(crate) async fn store_current(&self) {
        let stored = match self.list_leases().await {
            Ok(ids) => {
                let text = serde_json::to_vec(&ids).expect("a list of strings is JSON");
                replace_file(&self.file, &text).map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = stored {
            tracing::debug!(error, "cannot store the sessions of Milvus");
        }
    }

    async fn list_leases(&self) -> reqwest::Result<Vec<String>> {
        let answer = self.post("lease/leases", "{}".to_owned()).await?;
        let list: EtcdLeases = answer.error_for_status()?.json().await?;
        Ok(list.leases.into_iter().map(|lease| lease.id).collect())
    }

    /// Revokes the stored leases, then stores those of the new process as it starts: it may be
    /// killed before it is ready. Never ends.
    pub(crate) async fn replace_stored(&self) -> std::convert::Infallible {
        self.revoke_stored().await;
        loop {
            tokio::time::sleep(STORE_INTERVAL).await;
            self.store_current().await;
        }
    }

    /// Revokes the stored leases, and retries until etcd has answered for each of them.
    async fn revoke_stored(&self) {
        let Ok(text) = std::fs::read(&self.file) else {
            return;
        };
        let ids: Vec<String> = match serde_json::from_slice(&text) {
            Ok(ids) => ids,
            Err(error) => {
                tracing::debug!(%error, "cannot read the sessions of the last Milvus");
                return;
            }
        };
        for id in &ids {
            while let Err(error) = self.revoke(id).await {
                tracing::trace!(%error, "cannot end a session of the last Milvus yet");
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        }
        tracing::debug!(count = ids.len(), "ended the sessions of the last Milvus");
    }

    async fn revoke(&self, id: &str) -> reqwest::Result<()> {
        let body = serde_json::json!({"ID": id}).to_string();
        let answer = self.post("lease/revoke", body).await?;
        // A lease that has expired is not found, and a damaged id is refused. Neither changes.
        if answer.status().is_client_error() {
            return Ok(());
        }
        answer.error_for_status().map(|_| ())
    }

    async fn post(&self, path: &str, body: String) -> reqwest::Result<reqwest::Response> {
        let url = format!("http://127.0.0.1:{}/v3/{path}", self.etcd_port);
        let request = self.http.post(url).body(body).timeout(REQUEST_TIMEOUT);
        request.send().await
    }
}

//! Settings of the section `milvus`: the server, the namespace, and the limits of calls.

use std::time::Duration;

use lookalike_chassis::settings::{MinDuration, deserialize_positive, duration, find_credentials};
use serde::{Deserialize, Serialize};

use crate::Error;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `http://host:port`, or `https://…` for TLS.
    pub url: String,
    /// User, if the server requires one.
    pub user: String,
    /// Password, if the server requires one.
    pub password: String,
    /// Token, instead of user and password.
    pub token: String,
    /// The alias in service and the prefix of every collection's name, so that several
    /// installations can share one server: 1 to 32 of `a-z`, `0-9` and `_`, starting with a letter.
    pub namespace: String,
    /// Longest wait for the server at a start.
    #[serde(with = "MinDuration::<10>")]
    pub connect_timeout: Duration,
    /// Longest time of one attempt of a request.
    #[serde(with = "MinDuration::<10>")]
    pub call_timeout: Duration,
    /// Longest time of one search, with the time that it waits for others.
    #[serde(with = "MinDuration::<10>")]
    pub search_timeout: Duration,
    /// Requests for searches that are sent to Milvus at once; each contains up to 16 searches. More
    /// searches wait, so that a slow Milvus gets no more work than it can do.
    pub max_concurrent_searches: usize,
    /// Longest time for creating, loading or flushing a collection.
    #[serde(with = "MinDuration::<10>")]
    pub admin_timeout: Duration,
    /// Attempts of a request that fails quickly (connection refused, collection not loaded), at
    /// least 1. A request that times out is not repeated here; its caller decides.
    #[serde(deserialize_with = "deserialize_positive")]
    pub max_attempts: u32,
    /// Wait before the second attempt; each further wait is twice as long.
    #[serde(with = "duration")]
    pub retry_interval: Duration,
    /// Rows in one upsert request.
    #[serde(deserialize_with = "deserialize_positive")]
    pub upsert_rows: usize,
    /// Rows in one page of a listing. A page that is too large for one answer is halved.
    #[serde(deserialize_with = "deserialize_positive")]
    pub page_rows: usize,
    /// Partitions of a new collection; the library selects a row's partition. Needs Milvus 2.4;
    /// before, a collection has one partition.
    pub partitions: u16,
    /// Shards of a new collection; more than one helps only with several data nodes.
    pub shards: u16,
    /// HNSW of a new collection: neighbours per row.
    #[serde(deserialize_with = "deserialize_positive")]
    pub hnsw_m: u16,
    /// HNSW of a new collection: candidates while building.
    #[serde(deserialize_with = "deserialize_positive")]
    pub hnsw_ef_construction: u16,
    /// HNSW: minimum number of candidates of a search; a search for more hits uses more.
    #[serde(deserialize_with = "deserialize_positive")]
    pub search_ef: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:19530".into(),
            user: String::new(),
            password: String::new(),
            token: String::new(),
            namespace: "lookalike".into(),
            connect_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(10),
            search_timeout: Duration::from_secs(10),
            max_concurrent_searches: 16,
            admin_timeout: Duration::from_secs(120),
            max_attempts: 3,
            retry_interval: Duration::from_millis(100),
            upsert_rows: 256,
            page_rows: 1000,
            partitions: 16,
            shards: 1,
            hnsw_m: 16,
            hnsw_ef_construction: 200,
            search_ef: 64,
        }
    }
}

impl Settings {
    /// Rejects values that Milvus would reject later and less clearly.
    ///
    /// # Errors
    /// [`Error::Settings`], which names the setting.
    pub fn check_values(&self) -> Result<(), Error> {
        let settings = |reason: String| Err(Error::Settings { reason });
        let namespace = self.namespace.as_bytes();
        if namespace.is_empty()
            || namespace.len() > 32
            || !namespace[0].is_ascii_lowercase()
            || !namespace
                .iter()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_')
        {
            return settings(format!(
                "milvus.namespace {:?} must be 1 to 32 of a-z, 0-9 and _, starting with a letter",
                self.namespace
            ));
        }
        if !self.url.starts_with("http://") && !self.url.starts_with("https://") {
            return settings(format!(
                "milvus.url {:?} must start with http:// or https://",
                self.display_url()
            ));
        }
        for (name, value, least, most) in [
            ("max_attempts", u64::from(self.max_attempts), 1, 100),
            (
                "max_concurrent_searches",
                self.max_concurrent_searches as u64,
                1,
                1024,
            ),
            ("upsert_rows", self.upsert_rows as u64, 1, 4096),
            ("page_rows", self.page_rows as u64, 1, 16_384),
            ("partitions", u64::from(self.partitions), 1, 1024),
            ("shards", u64::from(self.shards), 1, 16),
            ("hnsw_m", u64::from(self.hnsw_m), 2, 2048),
            (
                "hnsw_ef_construction",
                u64::from(self.hnsw_ef_construction),
                8,
                65_535,
            ),
            ("search_ef", u64::from(self.search_ef), 1, 32_768),
        ] {
            if !(least..=most).contains(&value) {
                return settings(format!("milvus.{name} = {value} must be {least} to {most}"));
            }
        }
        Ok(())
    }

    /// Returns the address without credentials.
    pub(crate) fn display_url(&self) -> String {
        match find_credentials(&self.url) {
            Some(hidden) => format!(
                "{}{}",
                &self.url[..hidden.start],
                &self.url[hidden.end + 1..]
            ),
            None => self.url.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_pass_and_nonsense_does_not() {
        Settings::default().check_values().unwrap();
        let refused = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.check_values().unwrap_err().to_string()
        };
        for namespace in ["", "9lives", "Shop", "a-b", "é"] {
            let settings = Settings {
                namespace: namespace.into(),
                ..Settings::default()
            };
            assert!(settings.check_values().is_err(), "{namespace:?}");
        }
        assert!(refused(|s| s.url = "localhost:19530".into()).contains("milvus.url"));
        assert!(refused(|s| s.upsert_rows = 0).contains("milvus.upsert_rows = 0"));
        assert!(
            !refused(|s| s.url = "ftp://root:secret@host".into()).contains("secret"),
            "credentials stay out of messages"
        );
    }
}

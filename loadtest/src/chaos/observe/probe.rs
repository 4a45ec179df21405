//! Sends requests during the faults, as users and monitors would, and checks every response: counts
//! must add up, search results must be well-formed, and problems must say when to retry.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, RequestBuilder};
use serde_json::Value;

use crate::chaos::observe::recorder::Recorder;
use crate::chaos::plan::content::{PaintedPictures, TestContent};
use crate::chaos::plan::faults::RoleProcess;
use crate::chaos::plan::operations::BASE_PICTURES;
use lookalike_painter::paint::Random;

/// Timeout of every request during any fault: longer than the service's own timeout.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(45);

const PROBE_INTERVAL: Duration = Duration::from_millis(400);

const REPORTED_METRICS: &[&str] = &[
    "lookalike_embeddings_total",
    "lookalike_embeddings_reused_total",
    "lookalike_redeliveries_total",
    "lookalike_events_published_total",
    "lookalike_deferred_total",
    "lookalike_repaired_total",
];

/// An HTTP client of the service that records what it sees.
#[derive(Debug, Clone)]
pub struct ProbeClient {
    client: Client,
    recorder: Recorder,
}

#[derive(Debug)]
pub struct ProbeResponse {
    pub status: u16,
    /// Null if the body was not JSON.
    pub body: Value,
}

impl ProbeClient {
    pub fn new(recorder: &Recorder) -> reqwest::Result<Self> {
        let client = Client::builder()
            .timeout(RESPONSE_TIMEOUT)
            .connect_timeout(Duration::from_secs(5))
            .pool_max_idle_per_host(0)
            .build()?;
        Ok(Self {
            client,
            recorder: recorder.clone(),
        })
    }

    /// Sends requests of all kinds until it is dropped.
    pub async fn probe_forever(&self, seed: u64, pictures: Arc<PaintedPictures>) {
        tokio::join!(
            self.probe_stats(),
            self.probe_searches(seed, pictures),
            self.probe_metrics()
        );
    }

    async fn probe_stats(&self) {
        loop {
            self.read_stats().await;
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
    }

    async fn probe_searches(&self, seed: u64, pictures: Arc<PaintedPictures>) {
        let mut random = Random::new(seed, 5);
        let mut last_hit_id = None;
        loop {
            let picture = TestContent::Picture {
                base: random.int_between(0, BASE_PICTURES - 1),
                number: 0,
            };
            let hit_id = self.search_by_picture(&pictures.bytes_of(picture)).await;
            last_hit_id = hit_id.or(last_hit_id);
            if let Some(id) = &last_hit_id {
                let path = format!("/v1/images/{id}/similar?limit=5");
                // The image may have been deleted meanwhile.
                if let Some(answer) = self.get_path(&path).await
                    && answer.status != 404
                {
                    self.check_search(&answer);
                }
            }
            if let Some(answer) = self.get_path("/v1/images?limit=20").await
                && answer.status == 200
                && !answer.body["images"].is_array()
            {
                self.recorder
                    .record_violation("the response of /v1/images has no list of images");
            }
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
    }

    /// Searches by a picture; returns the id of the best hit.
    pub async fn search_by_picture(&self, bytes: &[u8]) -> Option<String> {
        let url = self.service_url("/v1/search/image?limit=10")?;
        let request = self.client.post(url).body(bytes.to_vec());
        let request = request.header("content-type", "application/octet-stream");
        let answer = self.send_request("search", request).await?;
        self.check_search(&answer);
        let id = answer.body["hits"][0]["id"].as_str()?;
        Some(id.to_owned())
    }

    fn check_search(&self, answer: &ProbeResponse) {
        match answer.status {
            200 => {
                self.recorder.count_one("searches answered");
                if let Err(wrong) = check_hits(&answer.body) {
                    self.recorder
                        .record_violation(format!("malformed search response: {wrong}"));
                }
            }
            503 => self.recorder.count_one("searches rejected with 503"),
            status => {
                let code = &answer.body["code"];
                self.recorder.record_violation(format!(
                    "a search by a valid picture returned {status} {code}"
                ));
            }
        }
    }

    /// Reads and checks the counts.
    pub async fn read_stats(&self) -> Option<Value> {
        let answer = self.get_path("/v1/stats").await?;
        if answer.status != 200 {
            return None;
        }
        self.recorder.count_one("reads of the counts");
        let libraries = answer.body["libraries"].as_array();
        let all = libraries.into_iter().flatten().chain([&answer.body]);
        for counts in all {
            if let Err(wrong) = check_counts(counts) {
                self.recorder.record_violation(wrong);
            }
        }
        Some(answer.body)
    }

    pub async fn get_path(&self, path: &str) -> Option<ProbeResponse> {
        let url = self.service_url(path)?;
        let route = path.split(['?']).next().unwrap_or(path);
        let route = match route.strip_prefix("/v1/images/") {
            Some(_) => "/v1/images/{id}/similar",
            None => route,
        };
        self.send_request(route, self.client.get(url)).await
    }

    fn service_url(&self, path: &str) -> Option<String> {
        let records = self.recorder.lock_records();
        let address = records.addresses.get(&RoleProcess::Serve)?;
        Some(format!("{address}{path}"))
    }

    async fn send_request(
        &self,
        request_name: &str,
        request: RequestBuilder,
    ) -> Option<ProbeResponse> {
        let disturbance = |recorder: &Recorder| {
            let records = recorder.lock_records();
            (records.serve_is_disturbed, records.serve_disturbances)
        };
        let before = disturbance(&self.recorder);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                // Only a fault of the service's own process excuses a missing response.
                let was_disturbed = before.0 || disturbance(&self.recorder) != before;
                if !was_disturbed && !error.is_connect() {
                    self.recorder.record_violation(format!(
                        "{request_name} got no response: {}",
                        describe_error_chain(&error)
                    ));
                }
                self.recorder
                    .count_one("requests without response during a fault of the service");
                return None;
            }
        };
        let status = response.status().as_u16();
        let retry_after = response.headers().contains_key("retry-after");
        let Ok(text) = response.text().await else {
            return None;
        };
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        if status >= 500 {
            let code = body["code"].as_str().unwrap_or("no code");
            if status != 503 {
                let detail = &body["detail"];
                self.recorder
                    .record_violation(format!("{request_name}: {status} {code} {detail}"));
            } else if !retry_after {
                self.recorder
                    .record_violation(format!("{request_name}: 503 {code} without Retry-After"));
            }
        }
        if status >= 400 && !(body["code"].is_string() && body["request_id"].is_string()) {
            self.recorder.record_violation(format!(
                "{request_name}: the body of {status} is not a problem document: {text}"
            ));
        }
        Some(ProbeResponse { status, body })
    }

    async fn probe_metrics(&self) {
        loop {
            self.read_metrics().await;
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
    }

    /// Reads the metrics of every reachable role.
    pub async fn read_metrics(&self) {
        let addresses = self.recorder.lock_records().addresses.clone();
        for (role, address) in addresses {
            let request = self.client.get(format!("{address}/metrics"));
            let request = request.timeout(Duration::from_secs(2));
            let Ok(response) = request.send().await else {
                continue;
            };
            let Ok(text) = response.text().await else {
                continue;
            };
            let mut records = self.recorder.lock_records();
            // The role may have been restarted meanwhile.
            if records.addresses.get(&role) == Some(&address) {
                records.running_metrics.insert(role, sum_metrics(&text));
            }
        }
    }
}

fn describe_error_chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line = format!("{line}: {cause}");
        source = cause.source();
    }
    // Ports change with every start. Without digits, equal errors are counted together.
    let digits = |c: char| c.is_ascii_digit();
    line.split(digits).collect::<Vec<_>>().join("")
}

/// Reads the reported metrics, each summed over its labels.
fn sum_metrics(text: &str) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for line in text.lines() {
        let Some((series, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let name = series.split('{').next().unwrap_or(series);
        if let (true, Ok(value)) = (REPORTED_METRICS.contains(&name), value.parse::<f64>()) {
            *sums.entry(name.to_owned()).or_default() += value;
        }
    }
    sums
}

/// Checks that every file is in exactly one of the four states, or that all counts are unknown,
/// because no watcher reports them.
fn check_counts(counts: &Value) -> Result<(), String> {
    let count = |key: &str| counts[key].as_u64();
    let all = ["on_disk", "indexed", "failed", "ignored", "in_flight"];
    let is_null = |key: &str| counts.get(key).is_some_and(Value::is_null);
    if all.into_iter().all(is_null) {
        return Ok(());
    }
    let parts = ["indexed", "failed", "ignored", "in_flight"].map(count);
    let sum: Option<u64> = parts.into_iter().sum();
    if sum.is_some() && sum == count("on_disk") {
        return Ok(());
    }
    Err(format!(
        "counts do not add up: on_disk {} and indexed, failed, ignored, in_flight {parts:?}",
        counts["on_disk"]
    ))
}

fn check_hits(answer: &Value) -> Result<(), String> {
    let hits = answer["hits"]
        .as_array()
        .ok_or("the response has no hits")?;
    let mut last_score = f64::INFINITY;
    for hit in hits {
        let wrong = |what: &str| Err(format!("{what}: {hit}"));
        let is_id = |id: &str| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
        if !hit["id"].as_str().is_some_and(is_id) {
            return wrong("no id");
        }
        if !hit["path"].is_string() || !hit["library"].is_string() {
            return wrong("no path");
        }
        match hit["score"].as_f64() {
            Some(score) if (-1.001..=1.001).contains(&score) && score <= last_score + 1e-6 => {
                last_score = score;
            }
            _ => return wrong("an impossible score"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn counts_add_up_or_not() {
        let counts = |on_disk: u64| json!({"on_disk": on_disk, "indexed": 1, "failed": 2, "ignored": 3, "in_flight": 4});
        check_counts(&counts(10)).unwrap();
        assert!(check_counts(&counts(11)).is_err());
        assert!(check_counts(&json!({"on_disk": 0})).is_err());
        let mut unknown = counts(10);
        for key in ["on_disk", "indexed", "failed", "ignored"] {
            unknown[key] = Value::Null;
            assert!(check_counts(&unknown).is_err());
        }
        unknown["in_flight"] = Value::Null;
        check_counts(&unknown).unwrap();
        assert!(check_counts(&json!({})).is_err());
    }

    #[test]
    fn answers_are_checked() {
        let hit =
            |score: f64| json!({"id": "0".repeat(32), "path": "a", "library": "b", "score": score});
        check_hits(&json!({"hits": [hit(1.0), hit(0.5)]})).unwrap();
        assert!(check_hits(&json!({"hits": [hit(0.5), hit(1.0)]})).is_err());
        assert!(check_hits(&json!({"hits": [hit(2.0)]})).is_err());
        assert!(check_hits(&json!({"hits": [{}]})).is_err());
        assert!(check_hits(&json!({})).is_err());
    }

    #[test]
    fn metrics_are_picked_by_name() {
        let text = "# HELP lookalike_embeddings_total x\nlookalike_embeddings_total 7\n\
                    lookalike_other 8\nlookalike_repaired_total{kind=\"a\"} 1\n\
                    lookalike_repaired_total{kind=\"b\"} 2\n";
        let numbers = sum_metrics(text);
        assert_eq!(numbers["lookalike_embeddings_total"], 7.0);
        assert_eq!(numbers["lookalike_repaired_total"], 3.0);
        assert_eq!(numbers.len(), 2);
    }
}

//! Reads the stream of events.

use std::time::Duration;

use reqwest::Response;
use serde_json::Value;

/// Reads events up to the first one of this type, and returns all of them.
pub async fn read_events_until(
    stream: &mut Response,
    wanted: &str,
    timeout: Duration,
) -> Vec<Value> {
    assert!(stream.status().is_success());
    let mut text = String::new();
    let reading = async {
        loop {
            let chunk = stream.chunk().await.unwrap().expect("events never end");
            text.push_str(&String::from_utf8_lossy(&chunk));
            let complete = text
                .rsplit_once("\n\n")
                .map_or("", |(complete, _)| complete);
            let data = complete
                .lines()
                .filter_map(|line| line.strip_prefix("data:"));
            let events: Vec<Value> = data
                .map(|data| serde_json::from_str(data).unwrap())
                .collect();
            if events.iter().any(|event| event["type"] == wanted) {
                return events;
            }
        }
    };
    let read = tokio::time::timeout(timeout, reading).await;
    read.unwrap_or_else(|_| panic!("no event of the type {wanted}"))
}

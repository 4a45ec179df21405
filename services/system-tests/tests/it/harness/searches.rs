//! Saved searches of a world.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::world::SETTLE_TIMEOUT;
use super::{SystemWorld, eventually};

impl SystemWorld {
    /// Sends a request to save a search; returns the status and the body of the answer.
    pub async fn post_saved_search(&self, request: &Value) -> (u16, Value) {
        let client = reqwest::Client::new();
        let url = format!("{}/v1/saved-searches", self.url);
        let response = client.post(url).json(request).send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap())
    }

    /// Saves a search for copies of a picture, with further fields of the request.
    pub async fn save_search(&self, picture: &[u8], fields: Value) -> Value {
        let mut request = json!({
            "name": "copies",
            "query": { "image": STANDARD.encode(picture) },
            "min_score": 0.95,
        });
        for (key, value) in fields.as_object().unwrap() {
            request[key] = value.clone();
        }
        let (status, body) = self.post_saved_search(&request).await;
        assert_eq!(status, 201, "{body}");
        body
    }

    /// Returns the matches of a saved search, page by page.
    pub async fn try_matches(&self, id: &str) -> Result<Vec<Value>, String> {
        let mut matches = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/v1/saved-searches/{id}/matches?limit=2{cursor}");
            let page = self.try_get(&path).await?;
            matches.extend(page["matches"].as_array().unwrap().iter().cloned());
            match page["cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(matches),
            }
        }
    }

    /// Waits until a saved search has matched these paths, each once.
    pub async fn wait_for_matches(&self, id: &str, paths: &[&str]) -> Vec<Value> {
        let mut expected = paths.to_vec();
        expected.sort_unstable();
        eventually("the matches are listed", SETTLE_TIMEOUT, || async {
            let matches = self.try_matches(id).await?;
            let found = matches.iter().map(|found| found["path"].as_str().unwrap());
            let mut found: Vec<&str> = found.collect();
            found.sort_unstable();
            match found == expected {
                true => Ok(matches),
                false => Err(format!("{found:?} instead of {expected:?}")),
            }
        })
        .await
    }
}

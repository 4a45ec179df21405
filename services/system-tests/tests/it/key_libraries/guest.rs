//! Requests with a limited key, and what their answers must not contain.

use std::path::Path;
use std::time::Duration;

use reqwest::{Client, Response};
use serde_json::Value;

use super::requests::{ApiRequest, RequestTarget};

/// The library that the key does not permit to see.
pub const HIDDEN_LIBRARY: &str = "secretlib";

/// Texts that only the hidden library has.
#[derive(Debug, Default)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// Collects the ids of the hidden images and failures, and the parts of their paths.
    pub fn of_entries<'a>(entries: impl Iterator<Item = &'a Value>, root: &Path) -> Self {
        let hidden = entries.filter(|entry| entry["library"] == HIDDEN_LIBRARY);
        let ids = hidden.map(|entry| entry["id"].as_str().unwrap().to_owned());
        let mut secrets: Vec<String> = ids.collect();
        assert_eq!(secrets.len(), 4);
        secrets.extend([HIDDEN_LIBRARY, "confidential"].map(str::to_owned));
        secrets.push(root.display().to_string());
        Self(secrets)
    }
}

/// An answer: its JSON, or its content type if it is something else.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Replaces the names of the target, and removes what differs between all answers.
    pub fn without_target(self, target: &RequestTarget) -> Self {
        let mut body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        if let Some(fields) = body.as_object_mut() {
            for volatile in ["request_id", "took_ms"] {
                fields.remove(volatile);
            }
        }
        let names = [
            &target.library,
            &target.id,
            &target.failed_id,
            &target.saved_search,
        ];
        let body = names.into_iter().fold(body.to_string(), |body, name| {
            body.replace(name.as_str(), "TARGET")
        });
        Self { body, ..self }
    }
}

/// A client with a limited key.
pub struct Guest {
    client: Client,
    url: String,
    key: String,
    secrets: Secrets,
}

impl Guest {
    pub fn new(url: &str, key: &str, secrets: Secrets) -> Self {
        Self {
            client: Client::new(),
            url: url.to_owned(),
            key: key.to_owned(),
            secrets,
        }
    }

    async fn request(&self, request: &ApiRequest) -> Response {
        let url = format!("{}{}", self.url, request.path);
        let mut sent = self.client.request(request.method.clone(), url);
        sent = sent.bearer_auth(&self.key);
        if let Some((content_type, body)) = &request.body {
            sent = sent
                .header("content-type", *content_type)
                .body(body.clone());
        }
        sent.send().await.unwrap()
    }

    pub async fn send(&self, request: &ApiRequest) -> Answer {
        let sent = tokio::time::timeout(Duration::from_secs(60), self.request(request));
        let response = sent
            .await
            .unwrap_or_else(|_| panic!("no answer: {request:?}"));
        let status = response.status().as_u16();
        let content_type = response.headers().get("content-type");
        let content_type = content_type
            .map_or("", |value| value.to_str().unwrap())
            .to_owned();
        let body = match content_type.contains("json") {
            true => response.text().await.unwrap(),
            false => content_type,
        };
        Answer { status, body }
    }

    /// Checks that an answer contains nothing of the hidden library that the request does not.
    pub fn assert_no_secret(&self, request: &ApiRequest, answer: &Answer) {
        let sent = request.text();
        for secret in self
            .secrets
            .0
            .iter()
            .filter(|secret| !sent.contains(*secret))
        {
            assert!(!answer.body.contains(secret), "{request:?}: {answer:?}");
        }
    }

    pub async fn open_events(&self) -> Response {
        self.request(&ApiRequest::get("/v1/events")).await
    }
}

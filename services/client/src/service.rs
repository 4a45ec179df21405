//! The HTTP client for the API of a running lookalike.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use lookalike_chassis::Retry;
use serde_json::Value;

use crate::running::RunningInstance;
use crate::usage_error::{UsageError, usage_error};

/// Of a whole request; one with a large body has more time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of a body that may take a second, after the first [`REQUEST_TIMEOUT`]: those of a slow link.
const MIN_BYTES_PER_SECOND: u64 = 512 << 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Of a stream: the service sends something every 15 seconds.
const STREAM_READ_TIMEOUT: Duration = Duration::from_secs(45);
const DEFAULT_URL: &str = "http://127.0.0.1:8080";
/// Attempts of one request while the service restarts or is overloaded.
const MAX_ATTEMPTS: u32 = 4;

/// Selects the running lookalike.
#[derive(Debug, Clone, Args)]
pub struct ServiceArgs {
    /// URL of the service (default: that of the running `lookalike up`, else http://127.0.0.1:8080)
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Data folder of the running `lookalike up`
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of a command about one file.
#[derive(Debug, Args)]
pub struct FileArgs {
    #[command(flatten)]
    pub service: ServiceArgs,
    /// The file: a path on this disk, LIBRARY/PATH, or an id
    #[arg(value_name = "PATH|ID")]
    pub file: PathBuf,
}

/// The service's refusal of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRefusal {
    pub status: u16,
    /// The stable name of the kind of problem.
    pub code: String,
    /// The parameter at fault.
    param: Option<String>,
    detail: String,
}

impl ServiceRefusal {
    /// Returns whether the error is a refusal of the value of this parameter.
    pub(crate) fn is_about_param(error: &anyhow::Error, param: &str) -> bool {
        let refusal = error.downcast_ref::<Self>();
        refusal.is_some_and(|refusal| {
            refusal.code == "invalid_parameter" && refusal.param.as_deref() == Some(param)
        })
    }

    /// Returns whether the error is a refusal with one of these codes.
    pub fn has_code(error: &anyhow::Error, codes: &[&str]) -> bool {
        let refusal = error.downcast_ref::<Self>();
        refusal.is_some_and(|refusal| codes.contains(&refusal.code.as_str()))
    }
}

impl fmt::Display for ServiceRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = reqwest::StatusCode::from_u16(self.status).unwrap_or_default();
        write!(f, "{} ({}, {status})", self.detail, self.code)
    }
}

impl std::error::Error for ServiceRefusal {}

/// Returns whether the same request may succeed later: the connection failed, or the service is
/// overloaded, restarting, or waits for a server.
pub fn is_transient(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<ServiceRefusal>() {
        Some(refusal) => refusal.status == 429 || refusal.status >= 500,
        None => error.downcast_ref::<UsageError>().is_none(),
    }
}

/// Returns whether a failed request is worth a repetition. A full disk stays full.
pub(crate) fn is_worth_a_retry(error: &anyhow::Error) -> bool {
    is_transient(error) && !ServiceRefusal::has_code(error, &["storage_full"])
}

/// Repeats a request a few times while the service restarts or is overloaded. A repetition must
/// have no further effect.
pub(crate) async fn retry_request<T, F>(attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    Retry::new(Duration::from_millis(250), Duration::from_secs(2))
        .with_max_attempts(MAX_ATTEMPTS)
        .run(attempt, is_worth_a_retry)
        .await
}

pub struct ServiceClient {
    client: reqwest::Client,
    /// For answers without an end.
    stream_client: reqwest::Client,
    url: String,
    /// Empty if none is set.
    api_key: String,
}

impl ServiceClient {
    /// A client for the service at `url`; without one, for the instance that runs with `data_dir`,
    /// and without that, for the default address.
    ///
    /// `is_data_dir_given`: the user named the data folder. Then the default address is not tried,
    /// because another lookalike may listen there.
    pub fn locate(url: &str, data_dir: Option<&Path>, is_data_dir_given: bool) -> Result<Self> {
        if !url.is_empty() {
            return Self::connect(url.trim_end_matches('/').to_owned());
        }
        let running = data_dir.and_then(RunningInstance::find_live);
        match (running, data_dir) {
            (Some(running), _) => Self::connect(running.url),
            (None, Some(data_dir)) if is_data_dir_given => Err(usage_error(anyhow!(
                "no `lookalike up` runs with the data folder {}: start it, or give the service's \
                 URL with --url",
                data_dir.display()
            ))),
            (None, _) => Self::connect(DEFAULT_URL.to_owned()),
        }
    }

    fn connect(url: String) -> Result<Self> {
        let build = |limit: fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder| {
            let mut client = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT);
            if is_local_address(&url) {
                // A configured proxy cannot reach this machine's loopback addresses.
                client = client.no_proxy();
            }
            limit(client)
                .build()
                .context("cannot create an HTTP client")
        };
        let client = build(|client| client.timeout(REQUEST_TIMEOUT))?;
        let stream_client = build(|client| client.read_timeout(STREAM_READ_TIMEOUT))?;
        let api_key = String::new();
        Ok(Self {
            client,
            stream_client,
            url,
            api_key,
        })
    }

    /// Sends this API key with every request; an empty one is not sent.
    #[must_use]
    pub fn with_api_key(self, api_key: &str) -> Self {
        let api_key = api_key.trim().to_owned();
        Self { api_key, ..self }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    async fn send_request(&self, request: reqwest::RequestBuilder) -> Result<Value> {
        self.send_request_within(request, REQUEST_TIMEOUT).await
    }

    async fn send_request_within(
        &self,
        request: reqwest::RequestBuilder,
        timeout: Duration,
    ) -> Result<Value> {
        let response = self.send_checked(request.timeout(timeout), timeout).await?;
        let status = response.status();
        response
            .json()
            .await
            .map_err(|error| self.describe_body_error(&error, status, timeout))
    }

    /// Sends a request. Returns the response if it is a success. `timeout` is that of the request.
    async fn send_checked(
        &self,
        request: reqwest::RequestBuilder,
        timeout: Duration,
    ) -> Result<reqwest::Response> {
        let request = match self.api_key.as_str() {
            "" => request,
            key => request.bearer_auth(key),
        };
        let response = request
            .send()
            .await
            .map_err(|error| self.describe_send_error(&error, timeout))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body: Value = response
            .json()
            .await
            .map_err(|error| self.describe_body_error(&error, status, timeout))?;
        let detail = body["detail"]
            .as_str()
            .or(body["title"].as_str())
            .unwrap_or("no reason given");
        let refusal = ServiceRefusal {
            status: status.as_u16(),
            code: body["code"].as_str().unwrap_or("error").to_owned(),
            param: body["param"].as_str().map(str::to_owned),
            detail: detail.to_owned(),
        };
        if status == reqwest::StatusCode::UNAUTHORIZED {
            return Err(usage_error(anyhow!(
                "{detail} ({}, {status}); this command line sends the key in LOOKALIKE_API_KEY, \
                 or api_key in lookalike.toml",
                refusal.code
            )));
        }
        Err(anyhow::Error::new(refusal))
    }

    fn describe_body_error(
        &self,
        error: &reqwest::Error,
        status: reqwest::StatusCode,
        timeout: Duration,
    ) -> anyhow::Error {
        match error.is_timeout() {
            true => self.describe_timeout(timeout),
            false => anyhow!(
                "{} answered with {status}, but not as lookalike does: is it another program?",
                self.url
            ),
        }
    }

    fn describe_send_error(&self, error: &reqwest::Error, timeout: Duration) -> anyhow::Error {
        if error.is_builder() {
            return usage_error(anyhow!("{} is not a URL: {error}", self.url));
        }
        if error.is_timeout() && !error.is_connect() {
            return self.describe_timeout(timeout);
        }
        let reason = match error.is_timeout() {
            true => "timed out",
            false => "connection failed",
        };
        anyhow!(
            "cannot reach lookalike at {}: {reason}; is `lookalike up` running? Use --url for \
             another address",
            self.url
        )
    }

    /// Describes that a service which accepts connections did not answer.
    fn describe_timeout(&self, timeout: Duration) -> anyhow::Error {
        anyhow!(
            "the answer of lookalike at {} did not arrive within {} s: the service is overloaded, or \
             the connection is slow",
            self.url,
            timeout.as_secs()
        )
    }

    pub async fn get_json(&self, path: &str, query: &[(&str, String)]) -> Result<Value> {
        self.send_request(self.client.get(format!("{}{path}", self.url)).query(query))
            .await
    }

    /// Returns the body of an answer that is not JSON, such as a thumbnail. `path` may have a query.
    pub async fn get_bytes(&self, path: &str) -> Result<Vec<u8>> {
        let request = self.client.get(format!("{}{path}", self.url));
        let response = self.send_checked(request, REQUEST_TIMEOUT).await?;
        let body = response.bytes().await;
        Ok(body
            .with_context(|| format!("{} sent an incomplete answer", self.url))?
            .to_vec())
    }

    /// Opens the stream of events, after the event `last_event_id` if there is one.
    pub async fn open_events(
        &self,
        query: &[(&str, String)],
        last_event_id: Option<&str>,
    ) -> Result<reqwest::Response> {
        let mut request = self
            .stream_client
            .get(format!("{}/v1/events", self.url))
            .query(query);
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        self.send_checked(request, STREAM_READ_TIMEOUT).await
    }

    /// Sends a picture. The time limit grows with its size.
    pub async fn post_bytes(
        &self,
        path: &str,
        query: &[(&str, String)],
        bytes: Vec<u8>,
    ) -> Result<Value> {
        let request = self.client.post(format!("{}{path}", self.url)).query(query);
        let request = request.header("content-type", "application/octet-stream");
        let timeout = body_timeout(bytes.len() as u64);
        self.send_request_within(request.body(bytes), timeout).await
    }

    pub async fn delete_json(&self, path: &str) -> Result<Value> {
        self.send_request(self.client.delete(format!("{}{path}", self.url)))
            .await
    }

    /// Sends a JSON body, or none if `body` is null.
    pub async fn post_json(&self, path: &str, body: &Value) -> Result<Value> {
        let mut request = self.client.post(format!("{}{path}", self.url));
        if !body.is_null() {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        self.send_request(request).await
    }
}

/// Returns the time limit of a request with a body of so many bytes.
fn body_timeout(bytes: u64) -> Duration {
    REQUEST_TIMEOUT + Duration::from_secs(bytes.div_ceil(MIN_BYTES_PER_SECOND))
}

fn is_local_address(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else {
        return false;
    };
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, code: &str, param: Option<&str>) -> anyhow::Error {
        anyhow::Error::new(ServiceRefusal {
            status,
            code: code.to_owned(),
            param: param.map(str::to_owned),
            detail: "no".to_owned(),
        })
    }

    #[test]
    fn large_bodies_have_more_time() {
        assert_eq!(body_timeout(0), Duration::from_secs(60));
        assert_eq!(body_timeout(1), Duration::from_secs(61));
        assert_eq!(body_timeout(200 << 20), Duration::from_secs(460));
    }

    #[test]
    fn refusals_are_classified() {
        let error = refusal(400, "invalid_parameter", Some("name"));
        assert!(ServiceRefusal::is_about_param(&error, "name"));
        assert!(!ServiceRefusal::is_about_param(&error, "folder"));
        assert!(!is_worth_a_retry(&error));
        assert!(is_worth_a_retry(&refusal(503, "not_ready", None)));
        assert!(!is_worth_a_retry(&refusal(507, "storage_full", None)));
        assert!(is_worth_a_retry(&anyhow!("connection failed")));
    }

    #[tokio::test]
    async fn a_late_answer_is_no_unreachable_service() {
        // The backlog of the listener accepts the connection, and nothing answers.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = ServiceClient::locate(&url, None, false).unwrap();
        let request = service.client.get(&url);
        let limit = Duration::from_secs(1);
        let error = service.send_request_within(request, limit).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("did not arrive within 1 s"), "{error}");
        drop(listener);
        let request = service.client.get(&url);
        let error = service.send_request_within(request, limit).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("is `lookalike up` running?"), "{error}");
    }
}

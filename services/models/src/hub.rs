//! Requests to the Hugging Face hub: one request with its redirects, and the meaning of its answer.
//!
//! The hub answers `HUB/OWNER/NAME/resolve/REVISION/FILE` itself for small files and redirects to a
//! content network for large ones. Headers of the hub's own answer announce the commit, the
//! SHA-256 and the length of the file.

use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, IF_RANGE, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode, Url};

use crate::error::Error;
use crate::proxies::check_proxies;
use crate::settings::Settings;

const MAX_REDIRECTS: usize = 10;

/// Why a request failed.
#[derive(Debug)]
pub(crate) enum HubFailure {
    /// A later attempt may succeed.
    Transient {
        reason: String,
        /// The pause that the hub asks for.
        retry_after: Option<Duration>,
    },
    Permanent(Error),
}

impl HubFailure {
    pub(crate) fn transient(reason: impl Into<String>) -> Self {
        Self::Transient {
            reason: reason.into(),
            retry_after: None,
        }
    }
}

impl From<Error> for HubFailure {
    fn from(error: Error) -> Self {
        Self::Permanent(error)
    }
}

/// What the hub announces about a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AnnouncedFile {
    /// 40 hexadecimal digits.
    pub(crate) commit: Option<String>,
    /// Announced for large files only.
    pub(crate) sha256: Option<String>,
    pub(crate) bytes: Option<u64>,
}

pub(crate) struct HubClient {
    client: reqwest::Client,
    hub: Url,
    token: String,
    stall_timeout: Duration,
}

impl HubClient {
    /// A client with the settings' limits and the proxies of the environment.
    pub(crate) fn new(settings: &Settings) -> Result<Self, Error> {
        let invalid_address = |reason: String| Error::InvalidHubAddress {
            hub: settings.hub.clone(),
            reason,
        };
        let hub = Url::parse(settings.hub.trim_end_matches('/'))
            .map_err(|error| invalid_address(error.to_string()))?;
        if !matches!(hub.scheme(), "http" | "https") {
            return Err(invalid_address("neither http nor https".to_owned()));
        }
        check_proxies(std::env::vars_os())?;
        let client = reqwest::Client::builder()
            .user_agent(concat!("lookalike/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(settings.connect_timeout)
            // `send_following_redirects` reads the headers of every answer and decides per host
            // whether to send the token.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(Error::BuildClient)?;
        Ok(Self {
            client,
            hub,
            // A token read from a file often ends with a newline.
            token: settings.token.trim().to_owned(),
            stall_timeout: settings.stall_timeout,
        })
    }

    pub(crate) fn file_url(
        &self,
        repository: &str,
        revision: &str,
        file: &str,
    ) -> Result<Url, Error> {
        let mut url = self.hub.clone();
        {
            let mut path = url
                .path_segments_mut()
                .map_err(|()| Error::InvalidHubAddress {
                    hub: self.hub.to_string(),
                    reason: "it cannot have a path".to_owned(),
                })?;
            path.pop_if_empty()
                .extend(repository.split('/'))
                .push("resolve")
                .push(revision)
                .extend(file.split('/'));
        }
        Ok(url)
    }

    /// Requests what the hub announces about a file, without its bytes.
    pub(crate) async fn head_file(&self, url: &Url) -> Result<AnnouncedFile, HubFailure> {
        let (_, announced) = self
            .send_following_redirects(Method::HEAD, url, HeaderMap::new())
            .await?;
        Ok(announced)
    }

    /// Requests a file's bytes from position `from`. The status of the response is 200, 206 or 416.
    /// With `etag`, a file that changed since is sent completely, with status 200.
    pub(crate) async fn get_file(
        &self,
        url: &Url,
        from: u64,
        etag: Option<&str>,
    ) -> Result<(Response, AnnouncedFile), HubFailure> {
        let mut headers = HeaderMap::new();
        if from > 0 {
            let range = format!("bytes={from}-");
            headers.insert(RANGE, range.parse().expect("digits are valid in a header"));
            if let Some(etag) = etag.and_then(|etag| etag.parse().ok()) {
                headers.insert(IF_RANGE, etag);
            }
        }
        self.send_following_redirects(Method::GET, url, headers)
            .await
    }

    async fn send_following_redirects(
        &self,
        method: Method,
        requested_url: &Url,
        headers: HeaderMap,
    ) -> Result<(Response, AnnouncedFile), HubFailure> {
        let mut url = requested_url.clone();
        let mut announced = AnnouncedFile::default();
        for _ in 0..=MAX_REDIRECTS {
            let request = self.build_request(method.clone(), &url, headers.clone());
            let response = tokio::time::timeout(self.stall_timeout, request.send())
                .await
                .map_err(|_| {
                    HubFailure::transient(format!("no answer within {:?}", self.stall_timeout))
                })?
                .map_err(|error| {
                    let cause = innermost_cause(&error);
                    match error.is_builder() {
                        true => unexpected_answer(requested_url, cause).into(),
                        false => HubFailure::transient(cause),
                    }
                })?;
            if self.is_hub(&url) {
                announced.record_headers(response.headers());
            }
            let status = response.status();
            if !is_redirect(status) {
                return match status {
                    StatusCode::OK
                    | StatusCode::PARTIAL_CONTENT
                    | StatusCode::RANGE_NOT_SATISFIABLE => Ok((response, announced)),
                    _ => Err(self.classify_status(requested_url, status, response.headers())),
                };
            }
            let target = redirect_target(&url, response.headers())
                .map_err(|reason| unexpected_answer(requested_url, reason))?;
            if method == Method::HEAD && !self.is_hub(&target) {
                // The hub's own answer has announced everything.
                return Ok((response, announced));
            }
            url = target;
        }
        let reason = format!("more than {MAX_REDIRECTS} redirects");
        Err(unexpected_answer(requested_url, reason).into())
    }

    fn build_request(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
    ) -> reqwest::RequestBuilder {
        let request = self
            .client
            .request(method, url.clone())
            .headers(headers)
            // Length and checksum are those of the file without content encoding.
            .header(ACCEPT_ENCODING, "identity");
        if self.token.is_empty() || !self.is_hub(url) {
            return request;
        }
        request.header(AUTHORIZATION, format!("Bearer {}", self.token))
    }

    fn is_hub(&self, url: &Url) -> bool {
        url.origin() == self.hub.origin()
    }

    fn classify_status(&self, url: &Url, status: StatusCode, headers: &HeaderMap) -> HubFailure {
        let refused = |advice: &'static str| Error::Refused {
            url: url.to_string(),
            status: status.as_u16(),
            advice,
        };
        match status.as_u16() {
            404 | 410 => Error::NotFound {
                url: url.to_string(),
            }
            .into(),
            401 | 403 if self.token.is_empty() => refused(
                "it may require a token: set HF_TOKEN to one with read access, and accept the \
                 model's terms on its page if it has any",
            )
            .into(),
            401 | 403 => refused(
                "the token in HF_TOKEN has no read access: check it, and accept the model's terms \
                 on its page if it has any",
            )
            .into(),
            407 => refused(
                "the proxy requires a login: set it as HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT",
            )
            .into(),
            408 | 425 | 429 | 500..=599 => HubFailure::Transient {
                reason: format!("the hub answered {status}"),
                retry_after: header_text(headers, "retry-after")
                    .and_then(|seconds| seconds.parse().ok())
                    .map(Duration::from_secs),
            },
            _ => unexpected_answer(url, format!("status {status}")).into(),
        }
    }
}

impl AnnouncedFile {
    /// Takes over what an answer of the hub announces; earlier announcements take precedence.
    fn record_headers(&mut self, headers: &HeaderMap) {
        let is_hexadecimal = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit())
        };
        if self.commit.is_none() {
            self.commit =
                header_text(headers, "x-repo-commit").filter(|text| is_hexadecimal(text, 40));
        }
        if self.sha256.is_none() {
            self.sha256 = header_text(headers, "x-linked-etag")
                .or_else(|| header_text(headers, "etag"))
                .map(|etag| {
                    let etag = etag.trim_start_matches("W/").trim_matches('"');
                    etag.to_ascii_lowercase()
                })
                .filter(|text| is_hexadecimal(text, 64));
        }
        if self.bytes.is_none() {
            self.bytes = header_text(headers, "x-linked-size").and_then(|bytes| bytes.parse().ok());
        }
    }
}

fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.trim().to_owned())
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn redirect_target(url: &Url, headers: &HeaderMap) -> Result<Url, &'static str> {
    let target = headers
        .get(LOCATION)
        .and_then(|location| location.to_str().ok())
        .and_then(|location| url.join(location).ok())
        .ok_or("a redirect without a valid Location")?;
    if url.scheme() == "https" && target.scheme() != "https" {
        return Err("a redirect to an unencrypted address");
    }
    Ok(target)
}

/// The error for an answer that a Hugging Face hub would not give.
pub(crate) fn unexpected_answer(url: &Url, reason: impl Into<String>) -> Error {
    Error::UnexpectedAnswer {
        url: url.to_string(),
        reason: reason.into(),
    }
}

/// The innermost cause of an error, which is the most specific one.
pub(crate) fn innermost_cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    let prefix = if error.is_connect() {
        "no connection: "
    } else {
        ""
    };
    format!("{prefix}{innermost}").replace(char::is_control, " ")
}

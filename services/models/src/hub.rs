//! Asking the Hugging Face hub: one request with its redirects, and what its answer means.
//!
//! `HUB/OWNER/NAME/resolve/REVISION/FILE` is answered by the hub itself for small files, and by a
//! redirect to a content network for large ones. The first answer has headers that say which commit
//! it is and what the file's SHA-256 and length are. The token goes to the hub alone, never to where
//! it redirects.

use std::ffi::OsString;
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, IF_RANGE, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode, Url};

use super::error::Error;
use super::settings::Settings;

/// Kinds of proxies.
const PROXY_SCHEMES: [&str; 6] = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];

/// Redirects that are followed.
const MAX_REDIRECTS: usize = 10;

/// Why a request did not go well.
#[derive(Debug)]
pub enum HubFailure {
    /// It may go well later.
    Transient {
        /// Why it did not now.
        why: String,
        /// How long the hub asks to wait.
        retry_after: Option<Duration>,
    },
    /// It never will.
    Permanent(Error),
}

impl HubFailure {
    fn transient(why: impl Into<String>) -> Self {
        Self::Transient {
            why: why.into(),
            retry_after: None,
        }
    }
}

impl From<Error> for HubFailure {
    fn from(error: Error) -> Self {
        Self::Permanent(error)
    }
}

/// What the hub says of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnnouncedFile {
    /// The commit, 40 hexadecimal digits.
    pub commit: Option<String>,
    /// SHA-256 of the file, which it says of large files only.
    pub sha256: Option<String>,
    /// Its length.
    pub bytes: Option<u64>,
}

/// A client of the hub.
pub struct HubClient {
    client: reqwest::Client,
    hub: Url,
    token: String,
    stall_timeout: Duration,
}

impl HubClient {
    /// A client as the settings say; proxies as the environment says.
    ///
    /// # Errors
    /// When the hub's or a proxy's address is none, or no client can be made.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let address = |why: String| Error::InvalidHubAddress {
            hub: settings.hub.clone(),
            why,
        };
        let hub = Url::parse(settings.hub.trim_end_matches('/'))
            .map_err(|error| address(error.to_string()))?;
        if !matches!(hub.scheme(), "http" | "https") {
            return Err(address("neither http nor https".to_owned()));
        }
        check_proxies(std::env::vars_os())?;
        let client = reqwest::Client::builder()
            .user_agent(concat!("lookalike/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(settings.connect_timeout)
            // Followed by hand, for the headers on the way and for the token.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(Error::BuildClient)?;
        Ok(Self {
            client,
            hub,
            // From a file, perhaps, with its newline.
            token: settings.token.trim().to_owned(),
            stall_timeout: settings.stall_timeout,
        })
    }

    /// The address of a file.
    ///
    /// # Errors
    /// When it makes no address.
    pub fn file_url(&self, repository: &str, revision: &str, file: &str) -> Result<Url, Error> {
        let mut url = self.hub.clone();
        {
            let mut path = url
                .path_segments_mut()
                .map_err(|()| Error::InvalidHubAddress {
                    hub: self.hub.to_string(),
                    why: "it can't have paths".to_owned(),
                })?;
            path.pop_if_empty()
                .extend(repository.split('/'))
                .push("resolve")
                .push(revision)
                .extend(file.split('/'));
        }
        Ok(url)
    }

    /// What the hub says of a file, without its bytes.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub async fn head_file(&self, url: &Url) -> Result<AnnouncedFile, HubFailure> {
        let (_, announced) = self
            .send_following_redirects(Method::HEAD, url, HeaderMap::new())
            .await?;
        Ok(announced)
    }

    /// Begins to send a file's bytes from `from` on. The answer is one of 200, 206 and 416;
    /// `etag` makes it 200 where the file has become another one.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub async fn get_file(
        &self,
        url: &Url,
        from: u64,
        etag: Option<&str>,
    ) -> Result<(Response, AnnouncedFile), HubFailure> {
        let mut headers = HeaderMap::new();
        if from > 0 {
            let range = format!("bytes={from}-");
            headers.insert(RANGE, range.parse().expect("digits make a header"));
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
        asked: &Url,
        headers: HeaderMap,
    ) -> Result<(Response, AnnouncedFile), HubFailure> {
        let mut url = asked.clone();
        let mut announced = AnnouncedFile::default();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self
                .client
                .request(method.clone(), url.clone())
                .headers(headers.clone())
                // The length and the checksum are those of the file itself.
                .header(ACCEPT_ENCODING, "identity");
            if !self.token.is_empty() && url.origin() == self.hub.origin() {
                request = request.header(AUTHORIZATION, format!("Bearer {}", self.token));
            }
            let response = tokio::time::timeout(self.stall_timeout, request.send())
                .await
                .map_err(|_| {
                    HubFailure::transient(format!("no answer within {:?}", self.stall_timeout))
                })?
                .map_err(|error| {
                    if error.is_builder() {
                        return HubFailure::Permanent(unexpected_answer(
                            asked,
                            innermost_cause(&error),
                        ));
                    }
                    HubFailure::transient(innermost_cause(&error))
                })?;
            announced.record_headers(response.headers(), url.origin() == self.hub.origin());
            let status = response.status();
            if !is_redirect(status) {
                return match status {
                    StatusCode::OK
                    | StatusCode::PARTIAL_CONTENT
                    | StatusCode::RANGE_NOT_SATISFIABLE => Ok((response, announced)),
                    _ => Err(self.classify_status(asked, status, response.headers())),
                };
            }
            let next = response
                .headers()
                .get(LOCATION)
                .and_then(|location| location.to_str().ok())
                .and_then(|location| url.join(location).ok())
                .ok_or_else(|| unexpected_answer(asked, "a redirect to nowhere"))?;
            if url.scheme() == "https" && next.scheme() != "https" {
                return Err(
                    unexpected_answer(asked, "a redirect to an unencrypted address").into(),
                );
            }
            if method == Method::HEAD && next.origin() != self.hub.origin() {
                // Everything that is asked for was said by the hub itself.
                return Ok((response, announced));
            }
            url = next;
        }
        Err(unexpected_answer(asked, "more redirects than are followed").into())
    }

    fn classify_status(&self, url: &Url, status: StatusCode, headers: &HeaderMap) -> HubFailure {
        let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.trim().to_owned());
        match status.as_u16() {
            404 | 410 => Error::NotFound {
                url: url.to_string(),
            }
            .into(),
            401 | 403 => Error::Refused {
                url: url.to_string(),
                status: status.as_u16(),
                advice: if self.token.is_empty() {
                    "it may need a token: put one that may read it into HF_TOKEN, and accept its \
                     terms on its page if it has some"
                } else {
                    "the token in HF_TOKEN may not read it: check it, and accept the model's \
                     terms on its page if it has some"
                }
                .to_owned(),
            }
            .into(),
            407 => Error::Refused {
                url: url.to_string(),
                status: 407,
                advice: "the proxy wants to know who you are: give it as \
                         HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT"
                    .to_owned(),
            }
            .into(),
            408 | 425 | 429 | 500..=599 => HubFailure::Transient {
                why: format!("the hub says {status}"),
                retry_after: text("retry-after")
                    .and_then(|seconds| seconds.parse().ok())
                    .map(Duration::from_secs),
            },
            _ => unexpected_answer(url, format!("it says {status}")).into(),
        }
    }
}

impl AnnouncedFile {
    /// Takes over what an answer says; what the hub itself said first counts.
    fn record_headers(&mut self, headers: &HeaderMap, is_hub: bool) {
        let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.trim().to_owned());
        if !is_hub {
            return;
        }
        let hexadecimal = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit())
        };
        if self.commit.is_none() {
            self.commit = text("x-repo-commit").filter(|commit| hexadecimal(commit, 40));
        }
        if self.sha256.is_none() {
            self.sha256 = text("x-linked-etag")
                .or_else(|| text("etag"))
                .map(|etag| {
                    let etag = etag.trim_start_matches("W/").trim_matches('"');
                    etag.to_ascii_lowercase()
                })
                .filter(|etag| hexadecimal(etag, 64));
        }
        if self.bytes.is_none() {
            self.bytes = text("x-linked-size").and_then(|bytes| bytes.parse().ok());
        }
    }
}

/// What can't be used as a proxy would be passed by without a word, past a firewall or into it.
fn check_proxies(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<(), Error> {
    for (variable, value) in variables {
        let (variable, value) = (variable.to_string_lossy(), value.to_string_lossy());
        let value = value.trim();
        let upper = variable.to_ascii_uppercase();
        if !matches!(&*upper, "HTTPS_PROXY" | "HTTP_PROXY" | "ALL_PROXY") || value.is_empty() {
            continue;
        }
        // A host and a port alone mean http.
        let address = if value.contains("://") {
            Url::parse(value)
        } else {
            Url::parse(&format!("http://{value}"))
        };
        let why = match address {
            Ok(url) if !PROXY_SCHEMES.contains(&url.scheme()) => {
                format!("{}:// is none that is known", url.scheme())
            }
            Ok(url) if url.has_host() => continue,
            Ok(_) => "it names no host".to_owned(),
            Err(error) => error.to_string(),
        };
        return Err(Error::InvalidProxy {
            variable: variable.into_owned(),
            why: why.replace(char::is_control, " "),
        });
    }
    Ok(())
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// An answer that is not the hub's.
pub fn unexpected_answer(url: &Url, why: impl Into<String>) -> Error {
    Error::UnexpectedAnswer {
        url: url.to_string(),
        why: why.into(),
    }
}

/// The innermost reason, which says most.
pub fn innermost_cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    let what = if error.is_connect() {
        "no connection: "
    } else {
        ""
    };
    format!("{what}{innermost}").replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_that_would_be_passed_by_are_named() {
        let check = |variable: &str, value: &str| {
            check_proxies([(variable.into(), value.into())].into_iter())
                .map_err(|error| error.to_string())
        };
        for value in [
            "",
            "  ",
            "http://a:3128",
            "proxy.example:8080",
            "socks5h://u:p@[::1]:9",
        ] {
            check("HTTPS_PROXY", value).unwrap();
        }
        check("OTHER", "foo://a").unwrap();
        for value in ["foo://u:secret@a:1", "http://", "http://a:port"] {
            let error = check("https_proxy", value).unwrap_err();
            assert!(error.starts_with("https_proxy names a proxy"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}

//! The requests of a run and what their answers must be.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use lookalike_painter::paint::Random;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use super::check::AnswerRules;
use super::mix::{SearchKind, SearchMix};
use super::recorder::RequestOutcome;
use crate::bench::photos::PhotoFile;

/// Most ids and content hashes that are read from the service.
const MAX_LISTED_IMAGES: usize = 100_000;

const PAGE_SIZE: usize = 1000;

/// How long rows may take to be readable after they were written.
const LISTING_TIMEOUT: Duration = Duration::from_secs(5);

const LISTING_INTERVAL: Duration = Duration::from_millis(250);

/// Most pictures that are uploaded in turn; they are kept in memory.
pub const MAX_UPLOADS: usize = 500;

/// Texts of searches by text, unless the user gives others.
const DEFAULT_TEXTS: [&str; 12] = [
    "a red chair",
    "a dog in the snow",
    "people at a table",
    "a sunset over the sea",
    "an old car",
    "a bowl of fruit",
    "a cat on a sofa",
    "a city at night",
    "a white flower",
    "a bicycle at a wall",
    "mountains and a lake",
    "a child with a kite",
];

/// A picture to upload.
#[derive(Debug, Clone)]
pub struct UploadPhoto {
    bytes: Bytes,
    /// Set if the content is indexed, so that it must find itself.
    content_hash: Option<String>,
}

/// Which server the requests go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServerKind {
    Lookalike,
    /// The usual system of `loadtest/peers/usual_system.py`: a form upload, without checks.
    UsualSystem,
}

/// A server with the requests that can be sent to it.
#[derive(Debug, Clone)]
pub struct SearchWorkload {
    client: Client,
    url: String,
    server: ServerKind,
    limit: usize,
    ids: Vec<String>,
    hashes: HashSet<String>,
    uploads: Vec<UploadPhoto>,
    texts: Vec<String>,
    /// Name of the model, if the server reports it.
    pub model: String,
}

/// Settings of the connection to a server.
#[derive(Debug, Clone)]
pub struct ConnectionOptions {
    pub timeout: Duration,
    /// Additional header lines, as `Name: value`.
    pub headers: Vec<String>,
}

/// Parses a header line, `Name: value`.
pub fn parse_header(line: &str) -> anyhow::Result<(HeaderName, HeaderValue)> {
    let (name, value) = line
        .split_once(':')
        .with_context(|| format!("{line:?} is not a header; write it as 'Name: value'"))?;
    let name = HeaderName::try_from(name.trim()).with_context(|| format!("header {line:?}"))?;
    let value = HeaderValue::try_from(value.trim()).with_context(|| format!("header {line:?}"))?;
    Ok((name, value))
}

fn build_client(options: &ConnectionOptions) -> anyhow::Result<Client> {
    let mut headers = HeaderMap::new();
    for line in &options.headers {
        let (name, value) = parse_header(line)?;
        headers.append(name, value);
    }
    Ok(Client::builder()
        .timeout(options.timeout)
        .default_headers(headers)
        .pool_max_idle_per_host(usize::MAX)
        .no_proxy()
        .build()?)
}

impl SearchWorkload {
    /// Connects to a running lookalike and reads its ids and content hashes.
    pub async fn connect(
        url: &str,
        options: &ConnectionOptions,
        limit: usize,
    ) -> anyhow::Result<Self> {
        let mut workload = Self {
            client: build_client(options)?,
            url: url.trim_end_matches('/').to_owned(),
            server: ServerKind::Lookalike,
            limit,
            ids: Vec::new(),
            hashes: HashSet::new(),
            uploads: Vec::new(),
            texts: DEFAULT_TEXTS.map(str::to_owned).to_vec(),
            model: String::new(),
        };
        let stats = workload.get_json("/v1/stats").await.with_context(|| {
            format!("cannot reach lookalike at {url}; is \"lookalike up\" running?")
        })?;
        workload.model = stats["model"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let indexed = stats["indexed"].as_u64().unwrap_or(0) as usize;
        let started = Instant::now();
        loop {
            workload.read_images().await?;
            // The newest rows may not be readable yet.
            let expected = indexed.min(MAX_LISTED_IMAGES);
            if workload.ids.len() >= expected || started.elapsed() >= LISTING_TIMEOUT {
                return Ok(workload);
            }
            tokio::time::sleep(LISTING_INTERVAL).await;
        }
    }

    /// The usual system at this address, with the same uploads.
    pub fn for_usual_system(&self, url: &str) -> Self {
        Self {
            url: url.trim_end_matches('/').to_owned(),
            server: ServerKind::UsualSystem,
            ..self.clone()
        }
    }

    pub async fn get_json(&self, path: &str) -> anyhow::Result<Value> {
        let response = self
            .client
            .get(format!("{}{path}", self.url))
            .send()
            .await?;
        let status = response.status();
        let body: Value = response.json().await.unwrap_or_default();
        anyhow::ensure!(
            status.is_success(),
            "{path} returned {status}: {}",
            body["detail"]
        );
        Ok(body)
    }

    async fn read_images(&mut self) -> anyhow::Result<()> {
        self.ids.clear();
        let mut cursor: Option<String> = None;
        loop {
            let mut path = format!("/v1/images?limit={PAGE_SIZE}");
            if let Some(cursor) = &cursor {
                path.push_str("&cursor=");
                path.push_str(cursor);
            }
            let page = self.get_json(&path).await?;
            for image in page["images"].as_array().into_iter().flatten() {
                self.ids.extend(image["id"].as_str().map(str::to_owned));
                self.hashes
                    .extend(image["content_hash"].as_str().map(str::to_owned));
            }
            cursor = page["cursor"].as_str().map(str::to_owned);
            if cursor.is_none() || self.ids.len() >= MAX_LISTED_IMAGES {
                return Ok(());
            }
        }
    }

    pub fn image_count(&self) -> usize {
        self.ids.len()
    }

    pub fn upload_count(&self) -> usize {
        self.uploads.len()
    }

    /// Returns how many of the uploads are indexed, so that their answers can be checked.
    pub fn checkable_count(&self) -> usize {
        let uploads = self.uploads.iter();
        uploads
            .filter(|upload| upload.content_hash.is_some())
            .count()
    }

    /// Uploads these files.
    pub fn upload_files(&mut self, photos: &[PhotoFile]) -> anyhow::Result<()> {
        for photo in photos.iter().take(MAX_UPLOADS) {
            let bytes = photo.read_bytes()?;
            self.add_upload(bytes);
        }
        Ok(())
    }

    /// Uploads up to `count` randomly chosen originals of the service itself.
    pub async fn upload_indexed(&mut self, count: usize, seed: u64) -> anyhow::Result<()> {
        anyhow::ensure!(
            !self.ids.is_empty(),
            "the index of {} is empty; add pictures to it, or pass a folder with --photos",
            self.url
        );
        let mut random = Random::new(seed, 22);
        let mut seen = HashSet::new();
        // Bounded: some originals may be missing or repeated.
        for _ in 0..count * 2 {
            if self.uploads.len() >= count.min(self.ids.len()) {
                break;
            }
            let number = random.int_between(0, self.ids.len() as u32 - 1) as usize;
            if !seen.insert(number) {
                continue;
            }
            let path = format!("/v1/images/{}/content", self.ids[number]);
            let request = self.client.get(format!("{}{path}", self.url));
            let response = request.send().await.with_context(|| path.clone())?;
            if response.status().is_success() {
                let bytes = response.bytes().await?.to_vec();
                self.add_upload(bytes);
            }
        }
        anyhow::ensure!(
            !self.uploads.is_empty(),
            "{} returned none of its originals; pass a folder with --photos",
            self.url
        );
        Ok(())
    }

    fn add_upload(&mut self, bytes: Vec<u8>) {
        let hash = blake3::hash(&bytes).to_hex().to_string();
        let content_hash = self.hashes.contains(&hash).then_some(hash);
        self.uploads.push(UploadPhoto {
            bytes: bytes.into(),
            content_hash,
        });
    }

    /// Does not expect indexed uploads to find themselves, for networks with random weights.
    pub fn forget_hashes(&mut self) {
        for upload in &mut self.uploads {
            upload.content_hash = None;
        }
    }

    /// Reads the texts of searches by text, one per line.
    pub fn read_texts(&mut self, file: &Path) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        self.texts = lines.map(str::to_owned).collect();
        anyhow::ensure!(
            !self.texts.is_empty(),
            "{} contains no text",
            file.display()
        );
        Ok(())
    }

    /// Sends one request of every kind in the mix, and fails if the server refuses it.
    pub async fn probe_kinds(&self, mix: SearchMix) -> anyhow::Result<()> {
        for kind in SearchKind::ALL
            .into_iter()
            .filter(|kind| mix.contains(*kind))
        {
            anyhow::ensure!(
                kind != SearchKind::Id || !self.ids.is_empty(),
                "the index of {} is empty, so there is no id to search for",
                self.url
            );
            if let RequestOutcome::Failed(problem) = self.send(kind, 0).await {
                let advice = match kind {
                    SearchKind::Text if problem.contains("model_without_text") => {
                        "; leave text out of --mix, or use a model with a text encoder"
                    }
                    _ => "",
                };
                anyhow::bail!("a search by {} fails: {problem}{advice}", kind.name());
            }
        }
        Ok(())
    }

    /// Sends request `number` of a kind and checks the answer.
    pub async fn send(&self, kind: SearchKind, number: u64) -> RequestOutcome {
        let pick = |count: usize| (number % count.max(1) as u64) as usize;
        let mut rules = AnswerRules {
            limit: self.limit,
            first_content_hash: None,
            excluded_id: None,
        };
        let request = match kind {
            SearchKind::Upload => {
                let Some(upload) = self.uploads.get(pick(self.uploads.len())) else {
                    return RequestOutcome::Failed("there is no picture to upload".to_owned());
                };
                rules.first_content_hash = upload.content_hash.as_deref();
                self.upload_request(upload)
            }
            SearchKind::Id => {
                let id = &self.ids[pick(self.ids.len())];
                rules.excluded_id = Some(id);
                let url = format!("{}/v1/images/{id}/similar?limit={}", self.url, self.limit);
                self.client.get(url)
            }
            SearchKind::Text => {
                let text = &self.texts[pick(self.texts.len())];
                let body = json!({"text": text, "limit": self.limit});
                self.client
                    .post(format!("{}/v1/search", self.url))
                    .json(&body)
            }
        };
        match read_answer(request).await {
            Err(problem) => RequestOutcome::Failed(problem),
            Ok(_) if self.server == ServerKind::UsualSystem => RequestOutcome::Right,
            Ok(answer) => match rules.check_answer(&answer) {
                Ok(()) => RequestOutcome::Right,
                Err(problem) => RequestOutcome::Wrong(problem),
            },
        }
    }

    fn upload_request(&self, upload: &UploadPhoto) -> RequestBuilder {
        match self.server {
            ServerKind::Lookalike => self
                .client
                .post(format!("{}/v1/search/image?limit={}", self.url, self.limit))
                .header("content-type", "application/octet-stream")
                .body(upload.bytes.clone()),
            ServerKind::UsualSystem => self
                .client
                .post(format!("{}/search?limit={}", self.url, self.limit))
                .header(
                    "content-type",
                    format!("multipart/form-data; boundary={BOUNDARY}"),
                )
                .body(form_body(&upload.bytes)),
        }
    }
}

async fn read_answer(request: RequestBuilder) -> Result<Value, String> {
    let describe = |error: reqwest::Error| {
        if error.is_timeout() {
            "timeout".to_owned()
        } else {
            format!("{:#}", anyhow::Error::from(error.without_url()))
        }
    };
    let response = request.send().await.map_err(describe)?;
    let status = response.status();
    let bytes = response.bytes().await.map_err(describe)?;
    let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if status.is_success() {
        Ok(answer)
    } else {
        Err(format!(
            "status {} {} {}",
            status.as_u16(),
            answer["code"].as_str().unwrap_or_default(),
            answer["detail"].as_str().unwrap_or_default()
        ))
    }
}

const BOUNDARY: &str = "lookalike-bench-5f9c2ad1e0";

/// Makes a form with one file, as a browser sends it.
fn form_body(bytes: &[u8]) -> Vec<u8> {
    let head = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"query.jpg\"\r\n\
         Content-Type: image/jpeg\r\n\r\n"
    );
    let tail = format!("\r\n--{BOUNDARY}--\r\n");
    [head.as_bytes(), bytes, tail.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_checked() {
        let with = |line: &str| {
            build_client(&ConnectionOptions {
                timeout: Duration::from_secs(1),
                headers: vec![line.to_owned()],
            })
        };
        with("X-Api-Key: secret").unwrap();
        for wrong in ["secret", "bad name: x", "X: a\nb"] {
            assert!(with(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_form_contains_the_file() {
        let form = form_body(b"\xff\xd8");
        let text = String::from_utf8_lossy(&form);
        assert!(text.starts_with("--lookalike-bench"), "{text}");
        assert!(
            text.ends_with("--\r\n") && text.contains("name=\"file\""),
            "{text}"
        );
        assert!(form.windows(2).any(|pair| pair == b"\xff\xd8"));
    }
}

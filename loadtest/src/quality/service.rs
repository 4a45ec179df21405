//! HTTP client of the service under test.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;

/// Timeout of one request.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long requests that the service rejects with 503 are repeated.
const BUSY_TIMEOUT: Duration = Duration::from_secs(120);

const PAGE_SIZE: usize = 1000;

#[derive(Debug, Clone)]
pub struct QualityClient {
    client: Client,
    url: String,
}

/// One hit of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct NeighbourHit {
    pub id: String,
    pub content_hash: String,
    /// Cosine to the query.
    pub score: f64,
    /// Key of the band, if the model has bands.
    pub band: Option<String>,
}

impl QualityClient {
    pub fn new(url: &str) -> anyhow::Result<Self> {
        let client = Client::builder()
            .timeout(RESPONSE_TIMEOUT)
            .no_proxy()
            .build()?;
        Ok(Self {
            client,
            url: url.to_owned(),
        })
    }

    /// Sends a request, and repeats it while the service responds with 503.
    async fn send_with_retry(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let started = Instant::now();
        loop {
            let attempt = request
                .try_clone()
                .context("the body cannot be sent again")?;
            let response = attempt.send().await?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            let path = response.url().path().to_owned();
            if status.as_u16() == 503 && started.elapsed() < BUSY_TIMEOUT {
                let after = response.headers().get("retry-after");
                let after = after.and_then(|after| after.to_str().ok()?.parse().ok());
                // The service says when to retry; there is no condition to wait for.
                tokio::time::sleep(Duration::from_secs(after.unwrap_or(1).clamp(1, 10))).await;
                continue;
            }
            let problem: Value = response.json().await.unwrap_or_default();
            let detail = problem["detail"].as_str().unwrap_or("no reason given");
            anyhow::bail!("{path} returned {status}: {detail}");
        }
    }

    pub async fn get_json(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<Value> {
        let request = self.client.get(format!("{}{path}", self.url));
        Ok(self
            .send_with_retry(request.query(query))
            .await?
            .json()
            .await?)
    }

    /// Returns ids, paths and content hashes of all indexed pictures. Fails if there are more than `max_images`.
    pub async fn list_images(&self, max_images: usize) -> anyhow::Result<Vec<[String; 3]>> {
        let page = PAGE_SIZE.to_string();
        let mut rows = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut query = vec![("limit", &page[..])];
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let answer = self.get_json("/v1/images", &query).await?;
            for image in answer["images"]
                .as_array()
                .context("the response has no list of images")?
            {
                let text = |key: &str| image[key].as_str().unwrap_or_default().to_owned();
                rows.push([text("id"), text("path"), text("content_hash")]);
            }
            anyhow::ensure!(
                rows.len() <= max_images,
                "the index has more than {max_images} pictures"
            );
            cursor = answer["cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return Ok(rows);
            }
        }
    }

    /// Returns the neighbours of an indexed picture, nearest first, itself excluded.
    pub async fn find_neighbours(
        &self,
        id: &str,
        limit: usize,
    ) -> anyhow::Result<Vec<NeighbourHit>> {
        let limit = limit.to_string();
        let path = format!("/v1/images/{id}/similar");
        parse_hits(&self.get_json(&path, &[("limit", &limit)]).await?)
    }

    /// Searches by the bytes of a picture; returns hits nearest first.
    pub async fn search_by_picture(
        &self,
        jpeg: Vec<u8>,
        limit: usize,
    ) -> anyhow::Result<Vec<NeighbourHit>> {
        let request = self.client.post(format!("{}/v1/search/image", self.url));
        let request = request.query(&[("limit", limit)]);
        let request = request.header("content-type", "image/jpeg").body(jpeg);
        parse_hits(&self.send_with_retry(request).await?.json().await?)
    }

    /// Returns an upright JPEG of a picture whose longer side has at most `side` pixels.
    pub async fn fetch_thumbnail(&self, id: &str, side: u32) -> anyhow::Result<Vec<u8>> {
        let url = format!("{}/v1/images/{id}/thumbnail", self.url);
        let request = self.client.get(url).query(&[("size", side)]);
        Ok(self.send_with_retry(request).await?.bytes().await?.to_vec())
    }
}

fn parse_hits(answer: &Value) -> anyhow::Result<Vec<NeighbourHit>> {
    let hits = answer["hits"]
        .as_array()
        .context("the response has no hits")?;
    let hit = |hit: &Value| {
        Some(NeighbourHit {
            id: hit["id"].as_str()?.to_owned(),
            content_hash: hit["content_hash"].as_str()?.to_owned(),
            score: hit["score"].as_f64()?,
            band: hit["band"].as_str().map(str::to_owned),
        })
    };
    let hits: Option<Vec<NeighbourHit>> = hits.iter().map(hit).collect();
    hits.context("a hit has no id, content hash or score")
}

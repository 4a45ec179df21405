//! What is asked of the service over HTTP.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;

/// How long one answer may take.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a question is asked again that the service puts off.
const BUSY_TIMEOUT: Duration = Duration::from_secs(120);

/// How many rows one page holds.
const PAGE_SIZE: usize = 1000;

/// A client of one service.
#[derive(Debug, Clone)]
pub struct QualityClient {
    client: Client,
    url: String,
}

/// A picture that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct NeighbourHit {
    /// Its id.
    pub id: String,
    /// Of its bytes.
    pub content_hash: String,
    /// Cosine to the query.
    pub score: f64,
    /// What that means, where the model has bands.
    pub band: Option<String>,
}

impl QualityClient {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// When there can be no client.
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

    /// The answer to a question; one that is put off is asked again.
    async fn send_with_retry(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let started = Instant::now();
        loop {
            let attempt = request
                .try_clone()
                .context("a body that can be sent once")?;
            let response = attempt.send().await?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            let path = response.url().path().to_owned();
            if status.as_u16() == 503 && started.elapsed() < BUSY_TIMEOUT {
                let after = response.headers().get("retry-after");
                let after = after.and_then(|after| after.to_str().ok()?.parse().ok());
                // The service says when to come back: there is nothing to be awaited.
                tokio::time::sleep(Duration::from_secs(after.unwrap_or(1).clamp(1, 10))).await;
                continue;
            }
            let problem: Value = response.json().await.unwrap_or_default();
            let detail = problem["detail"].as_str().unwrap_or("no reason given");
            anyhow::bail!("{path} was answered with {status}: {detail}");
        }
    }

    /// The answer at a path.
    ///
    /// # Errors
    /// When there is none.
    pub async fn get_json(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<Value> {
        let request = self.client.get(format!("{}{path}", self.url));
        Ok(self
            .send_with_retry(request.query(query))
            .await?
            .json()
            .await?)
    }

    /// Ids, paths and content hashes of everything in the index, up to so many.
    ///
    /// # Errors
    /// When it can't be listed, or there are more.
    pub async fn list_images(&self, max_images: usize) -> anyhow::Result<Vec<[String; 3]>> {
        let page = PAGE_SIZE.to_string();
        let mut rows = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut query = vec![("limit", &page[..])];
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let answer = self.get_json("/v1/images", &query).await?;
            for image in answer["images"].as_array().context("a list of images")? {
                let text = |key: &str| image[key].as_str().unwrap_or_default().to_owned();
                rows.push([text("id"), text("path"), text("content_hash")]);
            }
            anyhow::ensure!(rows.len() <= max_images, "more than {max_images} pictures");
            cursor = answer["cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return Ok(rows);
            }
        }
    }

    /// The neighbours of a picture in the index, nearest first, itself left out.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn find_neighbours(
        &self,
        id: &str,
        limit: usize,
    ) -> anyhow::Result<Vec<NeighbourHit>> {
        let limit = limit.to_string();
        let path = format!("/v1/images/{id}/similar");
        parse_hits(&self.get_json(&path, &[("limit", &limit)]).await?)
    }

    /// What looks like the picture in these bytes, nearest first.
    ///
    /// # Errors
    /// When there is no answer.
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

    /// An upright JPEG of a picture whose longer side has at most so many pixels.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn fetch_thumbnail(&self, id: &str, side: u32) -> anyhow::Result<Vec<u8>> {
        let url = format!("{}/v1/images/{id}/thumbnail", self.url);
        let request = self.client.get(url).query(&[("size", side)]);
        Ok(self.send_with_retry(request).await?.bytes().await?.to_vec())
    }
}

fn parse_hits(answer: &Value) -> anyhow::Result<Vec<NeighbourHit>> {
    let hits = answer["hits"].as_array().context("an answer has no hits")?;
    let hit = |hit: &Value| {
        Some(NeighbourHit {
            id: hit["id"].as_str()?.to_owned(),
            content_hash: hit["content_hash"].as_str()?.to_owned(),
            score: hit["score"].as_f64()?,
            band: hit["band"].as_str().map(str::to_owned),
        })
    };
    let hits: Option<Vec<NeighbourHit>> = hits.iter().map(hit).collect();
    hits.context("a hit without id, content hash or score")
}

//! Answers requests for rows: a watcher that lost its catalog recovers the ids of its images from
//! the index.

use futures_util::Stream;
use lookalike_bus::{Bus, Error as BusError, MAX_REPLY_BYTES, RowSummary, RowsPage, RowsRequest};
use lookalike_index::{Index, IndexedImage, ReadConsistency, RowFilter};
use tokio::sync::watch;

use super::RequestHandler;

/// Requests answered at once; each reads up to a thousand rows.
const MAX_ROW_REQUESTS: usize = 4;

pub struct RowsHandler {
    bus: Bus,
    index: Index,
    /// Whether this embedder's collection is not the one in service.
    paused: watch::Receiver<bool>,
}

impl RowsHandler {
    pub fn new(bus: Bus, index: Index, paused: watch::Receiver<bool>) -> Self {
        Self { bus, index, paused }
    }
}

impl RequestHandler for RowsHandler {
    type Request = RowsRequest;

    const SUBJECT: &'static str = "rows";

    fn max_concurrent(&self) -> usize {
        MAX_ROW_REQUESTS
    }

    async fn subscribe(&self) -> Result<impl Stream<Item = RowsRequest> + Send + Unpin, BusError> {
        self.bus.subscribe_rows_requests().await
    }

    async fn answer(&self, request: RowsRequest) {
        let page = if *self.paused.borrow() {
            Err("this embedder's collection is not in service; ask again".to_owned())
        } else {
            let page = read_page(
                &self.index,
                request.library.as_str(),
                request.after.as_deref(),
                request.limit,
            );
            page.await.map_err(|error| error.to_string())
        };
        request.send_reply(page).await;
    }

    async fn reject(&self, request: RowsRequest) {
        let busy = "too many requests for rows at once; ask again";
        request.send_reply(Err(busy.into())).await;
    }
}

/// Reads a page of a library's rows, including every write that Milvus has acknowledged.
async fn read_page(
    index: &Index,
    library: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<RowsPage, lookalike_index::Error> {
    let filter = RowFilter::Library(vec![library.to_owned()]);
    let listed = index
        .list_images(&filter, after, limit, ReadConsistency::Strong)
        .await;
    let images = match listed {
        // Dropped. Nothing else may create it again, and it is empty then.
        Err(lookalike_index::Error::Missing { .. }) => {
            index.ensure_collection().await?;
            Vec::new()
        }
        listed => listed?,
    };
    let more = images.len() >= limit;
    Ok(fit_in_reply(images.iter().map(row_summary), more))
}

/// Builds a page of at most [`MAX_REPLY_BYTES`], but at least one row. The watcher asks for the rest
/// next.
fn fit_in_reply(rows: impl Iterator<Item = RowSummary>, more: bool) -> RowsPage {
    let mut page = RowsPage {
        rows: Vec::new(),
        more,
    };
    let mut bytes = 0;
    for row in rows {
        bytes += serde_json::to_vec(&row).map_or(0, |json| json.len() + 1);
        if bytes > MAX_REPLY_BYTES && !page.rows.is_empty() {
            page.more = true;
            break;
        }
        page.rows.push(row);
    }
    page
}

fn row_summary(image: &IndexedImage) -> RowSummary {
    RowSummary {
        id: image.id.clone(),
        path: image.path.clone(),
        content_hash: image.content_hash.clone(),
        generation: u64::try_from(image.generation).unwrap_or(0),
        bytes: u64::try_from(image.bytes).unwrap_or(0),
        modified_at_ms: image.modified_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test_rows(count: usize, path_bytes: usize) -> impl Iterator<Item = RowSummary> {
        (0..count).map(move |n| RowSummary {
            id: format!("{n:032x}"),
            // Each byte becomes six in JSON.
            path: "\u{1}".repeat(path_bytes),
            content_hash: "ab".repeat(32),
            generation: u64::MAX,
            bytes: u64::MAX,
            modified_at_ms: i64::MIN,
        })
    }

    #[test]
    fn pages_end_at_the_limit_of_a_reply() {
        let page = fit_in_reply(test_rows(1000, 20), false);
        assert_eq!((page.rows.len(), page.more), (1000, false));
        let page = fit_in_reply(test_rows(1000, 4096), false);
        assert!(page.more && page.rows.len() > 10 && page.rows.len() < 30);
        let answer: Result<RowsPage, String> = Ok(page);
        assert!(serde_json::to_vec(&answer).unwrap().len() < MAX_REPLY_BYTES + 1024);
        let page = fit_in_reply(test_rows(3, MAX_REPLY_BYTES), true);
        assert_eq!((page.rows.len(), page.more), (1, true));
    }
}

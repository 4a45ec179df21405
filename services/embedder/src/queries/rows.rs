//! Questions for rows: a watcher that lost its catalog gets its images' ids back from the index.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use lookalike_bus::{Bus, MAX_REPLY_BYTES, RowSummary, RowsPage};
use lookalike_chassis::Backoff;
use lookalike_index::{Index, IndexedImage, ReadConsistency, RowFilter};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// Questions answered at once: each reads up to a thousand rows.
const MAX_ROW_REQUESTS: usize = 4;

/// Answers questions until `stop`.
pub async fn answer_row_requests(
    bus: Bus,
    index: Index,
    paused: watch::Receiver<bool>,
    ended: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(MAX_ROW_REQUESTS));
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    while !ended.is_cancelled() {
        match bus.subscribe_rows_requests().await {
            Err(error) => tracing::warn!(%error, "questions for rows can't be taken now"),
            Ok(mut questions) => loop {
                let question = tokio::select! {
                    () = ended.cancelled() => return,
                    question = questions.next() => question,
                };
                let Some(question) = question else { break };
                backoff.reset_attempts();
                if *paused.borrow() {
                    let other = "this embedder's rows are not those in service; ask again";
                    question.send_reply(Err(other.into())).await;
                    continue;
                }
                let Ok(permit) = room.clone().try_acquire_owned() else {
                    let busy = "too many questions for rows at once; ask again";
                    question.send_reply(Err(busy.into())).await;
                    continue;
                };
                let index = index.clone();
                tokio::spawn(async move {
                    let page = read_page(
                        &index,
                        question.library.as_str(),
                        question.after.as_deref(),
                        question.limit,
                    );
                    let page = page.await.map_err(|error| error.to_string());
                    question.send_reply(page).await;
                    drop(permit);
                });
            },
        }
        tokio::select! {
            () = ended.cancelled() => return,
            () = tokio::time::sleep(backoff.next_delay()) => {}
        }
    }
}

/// A page of a library's rows, with every write that was answered before.
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
        // Gone, and nothing else may ever ask for it: made again, it holds nothing.
        Err(lookalike_index::Error::Missing { .. }) => {
            index.ensure_collection().await?;
            Vec::new()
        }
        listed => listed?,
    };
    let more = images.len() >= limit;
    Ok(fit_in_answer(images.iter().map(row_facts), more))
}

/// As many rows as one answer may hold, though at least one: what is left out is asked for next.
fn fit_in_answer(rows: impl Iterator<Item = RowSummary>, more: bool) -> RowsPage {
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

fn row_facts(image: &IndexedImage) -> RowSummary {
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
            // Each byte takes six in JSON.
            path: "\u{1}".repeat(path_bytes),
            content_hash: "ab".repeat(32),
            generation: u64::MAX,
            bytes: u64::MAX,
            modified_at_ms: i64::MIN,
        })
    }

    #[test]
    fn pages_end_at_the_limit_of_an_answer() {
        let page = fit_in_answer(test_rows(1000, 20), false);
        assert_eq!((page.rows.len(), page.more), (1000, false));
        let page = fit_in_answer(test_rows(1000, 4096), false);
        assert!(page.more && page.rows.len() > 10 && page.rows.len() < 30);
        let answer: Result<RowsPage, String> = Ok(page);
        assert!(serde_json::to_vec(&answer).unwrap().len() < MAX_REPLY_BYTES + 1024);
        let page = fit_in_answer(test_rows(3, MAX_REPLY_BYTES), true);
        assert_eq!((page.rows.len(), page.more), (1, true));
    }
}

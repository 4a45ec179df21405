//! Questions for rows: a watcher that lost its catalog gets its images' ids back from the index.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use lookalike_bus::{Bus, MOST_ANSWER_BYTES, RowFacts, RowsPage};
use lookalike_chassis::Backoff;
use lookalike_index::{Consistency, Filter, Image, Index};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// Questions answered at once: each reads up to a thousand rows.
const MOST_QUESTIONS: usize = 4;

/// Answers questions until `ended`.
pub async fn answer(
    bus: Bus,
    index: Index,
    aside: watch::Receiver<bool>,
    ended: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(MOST_QUESTIONS));
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    while !ended.is_cancelled() {
        match bus.rows_questions().await {
            Err(error) => tracing::warn!(%error, "questions for rows can't be taken now"),
            Ok(mut questions) => loop {
                let question = tokio::select! {
                    () = ended.cancelled() => return,
                    question = questions.next() => question,
                };
                let Some(question) = question else { break };
                backoff.reset();
                if *aside.borrow() {
                    let other = "this embedder's rows are not those in service; ask again";
                    question.reply(Err(other.into())).await;
                    continue;
                }
                let Ok(permit) = room.clone().try_acquire_owned() else {
                    let busy = "too many questions for rows at once; ask again";
                    question.reply(Err(busy.into())).await;
                    continue;
                };
                let index = index.clone();
                tokio::spawn(async move {
                    let page = page(
                        &index,
                        question.library.as_str(),
                        question.after.as_deref(),
                        question.limit,
                    );
                    let page = page.await.map_err(|error| error.to_string());
                    question.reply(page).await;
                    drop(permit);
                });
            },
        }
        tokio::select! {
            () = ended.cancelled() => return,
            () = tokio::time::sleep(backoff.next_wait()) => {}
        }
    }
}

/// A page of a library's rows, with every write that was answered before.
async fn page(
    index: &Index,
    library: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<RowsPage, lookalike_index::Error> {
    let filter = Filter::Library(vec![library.to_owned()]);
    let listed = index.list(&filter, after, limit, Consistency::Strong).await;
    let images = match listed {
        // Gone, and nothing else may ever ask for it: made again, it holds nothing.
        Err(lookalike_index::Error::Missing { .. }) => {
            index.ensure().await?;
            Vec::new()
        }
        listed => listed?,
    };
    let more = images.len() >= limit;
    Ok(within_bytes(images.iter().map(facts), more))
}

/// As many rows as one answer may hold, though at least one: what is left out is asked for next.
fn within_bytes(rows: impl Iterator<Item = RowFacts>, more: bool) -> RowsPage {
    let mut page = RowsPage {
        rows: Vec::new(),
        more,
    };
    let mut bytes = 0;
    for row in rows {
        bytes += serde_json::to_vec(&row).map_or(0, |json| json.len() + 1);
        if bytes > MOST_ANSWER_BYTES && !page.rows.is_empty() {
            page.more = true;
            break;
        }
        page.rows.push(row);
    }
    page
}

fn facts(image: &Image) -> RowFacts {
    RowFacts {
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

    fn rows(count: usize, path_bytes: usize) -> impl Iterator<Item = RowFacts> {
        (0..count).map(move |n| RowFacts {
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
        let page = within_bytes(rows(1000, 20), false);
        assert_eq!((page.rows.len(), page.more), (1000, false));
        let page = within_bytes(rows(1000, 4096), false);
        assert!(page.more && page.rows.len() > 10 && page.rows.len() < 30);
        let answer: Result<RowsPage, String> = Ok(page);
        assert!(serde_json::to_vec(&answer).unwrap().len() < MOST_ANSWER_BYTES + 1024);
        let page = within_bytes(rows(3, MOST_ANSWER_BYTES), true);
        assert_eq!((page.rows.len(), page.more), (1, true));
    }
}

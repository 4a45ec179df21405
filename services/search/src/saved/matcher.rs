//! Compares the pictures of new outcomes with all saved searches.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lookalike_bus::{MatchRecord, OutcomeDelivery, OutcomeQueue};
use lookalike_chassis::clock::now_nanos;
use lookalike_index::{IndexRow, ReadConsistency, RowFilter};
use lookalike_proto::OutcomeState;
use tokio_util::sync::CancellationToken;

use super::compare::{FoundMatch, SearchComparison};
use super::query_vector::recompute_query_vector;
use super::record::{QueryVector, SavedPicture, SavedSearchRecord, Threshold};
use super::store::{SavedSearch, SavedSearchList};
use crate::api::stored_row_filter;
use crate::core::service::{SearchService, ServiceState};
use crate::core::visible::model::VisibleModel;
use crate::metrics::SAVED_SEARCH_MATCHES;
use crate::problem::{Code, Problem};

/// How long to wait for the first outcome of a batch, and between two looks for the first saved search.
const POLL_TIMEOUT: Duration = Duration::from_secs(1);

/// How long to wait after a failure of NATS, Milvus or the embedders.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// How often an outcome of another model is delivered again before it is compared nevertheless. The
/// services follow a rollover within seconds.
const MAX_DELIVERIES_OF_OTHER_MODEL: u32 = 10;

/// Compares outcomes until `shutdown`.
pub(crate) async fn run_saved_searches(service: Arc<ServiceState>, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        if let Err(problem) = follow_outcomes(&service, &shutdown).await {
            tracing::debug!(detail = problem.detail, "cannot compare saved searches now");
            wait(RETRY_INTERVAL, &shutdown).await;
        }
    }
}

async fn wait(duration: Duration, shutdown: &CancellationToken) {
    let slept = tokio::time::sleep(duration);
    let _: Option<()> = shutdown.run_until_cancelled(slept).await;
}

/// Takes outcomes from their queue while there are saved searches.
async fn follow_outcomes(
    service: &Arc<ServiceState>,
    shutdown: &CancellationToken,
) -> Result<(), Problem> {
    // Also applies changed limits.
    service.saved_searches.ensure_storage().await?;
    let searches = service.saved_searches.load().await?;
    let Some(start_ns) = searches.iter().map(|search| search.created_ns).min() else {
        // Without saved searches, nothing needs the queue. The first search starts another one.
        service.bus.delete_outcome_queue().await?;
        return wait_for_first_search(service, shutdown).await;
    };
    let queue = service.bus.open_outcome_queue(start_ns).await?;
    while !shutdown.is_cancelled() {
        if !match_next_batch(service, &queue, shutdown).await? {
            return Ok(());
        }
    }
    Ok(())
}

async fn wait_for_first_search(
    service: &Arc<ServiceState>,
    shutdown: &CancellationToken,
) -> Result<(), Problem> {
    while !shutdown.is_cancelled() && service.saved_searches.load().await?.is_empty() {
        wait(POLL_TIMEOUT, shutdown).await;
    }
    Ok(())
}

/// Compares the outcomes that are available now. Returns whether there are saved searches.
async fn match_next_batch(
    service: &Arc<ServiceState>,
    queue: &OutcomeQueue,
    shutdown: &CancellationToken,
) -> Result<bool, Problem> {
    let max_batch = service.saved_searches.settings.max_batch;
    let deliveries = queue
        .take_outcomes(max_batch, POLL_TIMEOUT, shutdown)
        .await?;
    // The model may change meanwhile, so this is decided once.
    let (early, ready): (Vec<_>, Vec<_>) = deliveries
        .iter()
        .partition(|delivery| is_of_other_model(service, delivery));
    // After the outcomes were taken: a search that was stored before one of them is in the list.
    let compared = match service.saved_searches.load().await {
        Ok(searches) => compare_outcomes(service, &searches, &ready)
            .await
            .map(|()| !searches.is_empty()),
        Err(error) => Err(error.into()),
    };
    for delivery in ready {
        match &compared {
            Ok(_) => delivery.acknowledge().await,
            Err(_) => delivery.retry_after(RETRY_INTERVAL).await,
        }
    }
    for delivery in early {
        delivery.retry_after(RETRY_INTERVAL).await;
    }
    compared
}

/// Whether the outcome belongs to a model that this service does not use yet.
fn is_of_other_model(service: &Arc<ServiceState>, delivery: &OutcomeDelivery) -> bool {
    let model = &delivery.outcome.model;
    delivery.outcome.state == OutcomeState::Indexed
        && delivery.deliveries < MAX_DELIVERIES_OF_OTHER_MODEL
        && !model.is_empty()
        && *model != service.model.load().description.name
}

/// Compares the pictures of these outcomes with the searches, and stores the matches.
async fn compare_outcomes(
    service: &Arc<ServiceState>,
    searches: &SavedSearchList,
    deliveries: &[&OutcomeDelivery],
) -> Result<(), Problem> {
    let is_indexed = |delivery: &&&OutcomeDelivery| delivery.outcome.state == OutcomeState::Indexed;
    let indexed: Vec<&OutcomeDelivery> = deliveries.iter().filter(is_indexed).copied().collect();
    if indexed.is_empty() || searches.is_empty() {
        return Ok(());
    }
    let view = SearchService::unlimited(service);
    let serving = view.load_model();
    // Searches with the same filter share a request to the index.
    let mut by_filter: Vec<(RowFilter, Vec<&SavedSearch>)> = Vec::new();
    for search in searches.iter() {
        let filter = match stored_row_filter(&view, search.record.filter.as_ref()) {
            Ok(filter) => filter,
            Err(problem) => {
                let problem = Some(problem.detail);
                service.saved_searches.set_problem(&search.id, problem);
                continue;
            }
        };
        match by_filter.iter_mut().find(|(known, _)| *known == filter) {
            Some((_, group)) => group.push(search),
            None => by_filter.push((filter, vec![search])),
        }
    }
    for (filter, searches) in by_filter {
        let oldest_ns = searches.iter().map(|search| search.created_ns).min();
        let is_new = |delivery: &&&OutcomeDelivery| {
            oldest_ns.is_some_and(|oldest_ns| delivery.stored_ns >= oldest_ns)
        };
        let new: Vec<&OutcomeDelivery> = indexed.iter().filter(is_new).copied().collect();
        let fetched = fetch_rows(&serving, &filter, &new).await;
        for search in searches {
            let matched = match &fetched {
                Ok(rows) if rows.is_empty() => continue,
                Ok(rows) => match_search(service, &serving, search, rows).await,
                Err(problem) => Err(problem.clone()),
            };
            match matched {
                Err(problem) if is_transient(&problem) => return Err(problem),
                matched => {
                    let problem = matched.err().map(|problem| problem.detail);
                    service.saved_searches.set_problem(&search.id, problem);
                }
            }
        }
    }
    Ok(())
}

/// Whether the same comparison may succeed later: a server is unavailable.
fn is_transient(problem: &Problem) -> bool {
    problem.status().is_server_error() && problem.code != Code::Internal
}

/// A row and when the outcome that it belongs to was stored, in nanoseconds since 1970.
struct OutcomeRow {
    row: IndexRow,
    stored_ns: i64,
}

/// Returns the rows of outcomes that pass a filter. If a row has other content than its outcome, a newer
/// outcome follows.
async fn fetch_rows(
    serving: &VisibleModel,
    filter: &RowFilter,
    deliveries: &[&OutcomeDelivery],
) -> Result<Vec<OutcomeRow>, Problem> {
    let mut newest: HashMap<String, &OutcomeDelivery> = HashMap::new();
    for delivery in deliveries {
        newest.insert(delivery.outcome.image_id.to_string(), delivery);
    }
    let ids: Vec<String> = newest.keys().cloned().collect();
    let rows = serving
        .index
        .fetch_rows(&ids, filter, ReadConsistency::Strong)
        .await?;
    let rows = rows.into_iter().filter_map(|row| {
        let delivery = newest.get(&row.image.id)?;
        let hash = delivery.outcome.content_hash.map(|hash| hash.to_string());
        let is_current = hash.is_none_or(|hash| hash == row.image.content_hash);
        is_current.then_some(OutcomeRow {
            row,
            stored_ns: delivery.stored_ns,
        })
    });
    Ok(rows.collect())
}

/// Compares rows with one search, and stores the matches.
async fn match_search(
    service: &Arc<ServiceState>,
    serving: &VisibleModel,
    search: &SavedSearch,
    rows: &[OutcomeRow],
) -> Result<(), Problem> {
    let comparison = prepare_comparison(service, serving, search).await?;
    let new = rows.iter().filter(|row| row.stored_ns >= search.created_ns);
    let new: Vec<IndexRow> = new.map(|row| row.row.clone()).collect();
    let compare = move || comparison.find_matches(&new);
    let found = tokio::task::spawn_blocking(compare).await;
    let found = found.map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
    for found in found {
        let record = to_record(search, found);
        if service.bus.publish_match(&record).await? {
            SAVED_SEARCH_MATCHES.inc();
        }
    }
    Ok(())
}

/// Returns what a comparison with this search needs; computes its vector if the model has changed.
async fn prepare_comparison(
    service: &Arc<ServiceState>,
    serving: &VisibleModel,
    search: &SavedSearch,
) -> Result<SearchComparison, Problem> {
    let record = &search.record;
    let model = &serving.description;
    let computed: QueryVector;
    let query = if record.vector.checksum == model.checksum {
        &record.vector
    } else {
        let view = SearchService::unlimited(service);
        computed = recompute_query_vector(&view, serving, record).await?;
        let replaced = SavedSearchRecord {
            vector: computed.clone(),
            ..record.clone()
        };
        // If another service was faster, the list contains its vector from the next batch on.
        service
            .saved_searches
            .replace_record(search, replaced)
            .await?;
        &computed
    };
    let bands = model.bands.filter(|_| record.is_single_image());
    if bands.is_none() && matches!(record.threshold, Threshold::Band(_)) {
        return Err(Problem::new(
            Code::InvalidParameter,
            format!(
                "the model {} has no bands: save the search with min_score",
                model.name
            ),
        ));
    }
    Ok(SearchComparison {
        vector: query.to_vector(),
        picture: query.picture.as_ref().map(SavedPicture::to_query),
        bands,
        threshold: record.threshold,
        excluded_ids: record.query_ids().map(str::to_owned).collect(),
    })
}

fn to_record(search: &SavedSearch, found: FoundMatch) -> MatchRecord {
    let image = found.hit.image;
    let band = found.band.and_then(|band| serde_json::to_value(band).ok());
    MatchRecord {
        saved_search: search.id.clone(),
        saved_search_name: search.record.name.clone(),
        library: image.library,
        image_id: image.id,
        path: image.path,
        content_hash: image.content_hash,
        score: found.hit.score,
        band: band.and_then(|band| band.as_str().map(str::to_owned)),
        at_ms: now_nanos() / 1_000_000,
    }
}

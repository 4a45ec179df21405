//! Searches: embeds uploaded images and texts, combines the vectors and queries the index.

use std::time::{Duration, Instant};

use lookalike_index::{ReadConsistency, RowFilter};

use super::hit_bands::QueryPicture;
use super::query::{ParsedQuery, SearchConditions, WeightedPart, combine_vectors};
use super::query_vectors::{PartVectors, VectorSource};
use super::ranking::CopyOrder;
use super::search_cursor::{SearchCursor, SearchDigest};
use super::search_pages::{FoundHit, PageSearch};
use super::service::SearchService;
use super::visible::model::VisibleModel;
use crate::metrics::SEARCH_SECONDS;
use crate::problem::Problem;

/// The result of a search.
pub(crate) struct SearchResult {
    /// The nearest images by falling score; if there are bands, the same pictures come first.
    pub hits: Vec<FoundHit>,
    /// Whether the model has bands and they hold for the scores of this query.
    pub has_bands: bool,
    /// The cursor of the next page, if there is one.
    pub cursor: Option<String>,
    pub model: String,
    pub took: Duration,
}

pub(crate) async fn run_search(
    service: &SearchService,
    query: ParsedQuery,
    mut conditions: SearchConditions,
) -> Result<SearchResult, Problem> {
    let _permit = service.search_permits.acquire()?;
    let started = Instant::now();
    let serving = service.load_model();
    let description = &serving.description;
    if query.has_text() && !description.has_text() {
        return Err(Problem::model_without_text(&description.name));
    }
    let kind = query.kind();
    let bands = description.bands.filter(|_| query.is_single_image());
    if let Some(id) = query.excluded_id.clone() {
        conditions.filter = RowFilter::And(vec![conditions.filter, RowFilter::NotId(vec![id])]);
    }
    let source = VectorSource {
        service,
        serving: &serving,
        consistency: conditions.consistency,
        orientations: query.orientations,
    };
    let mut parts = source.fetch_vectors(query).await?;
    let digest = digest_search(&serving, &parts, source.orientations, &conditions);
    let cursor = conditions.cursor.take();
    let cursor = cursor.map(|cursor| SearchCursor::parse(&cursor, digest));
    let cursor = cursor.transpose()?;
    let picture = parts.first_mut().and_then(|part| part.picture.take());
    let order = bands.zip(picture);
    let search = PageSearch {
        service,
        serving: &serving,
        vectors: combine_parts(parts)?,
        order: order.map(|(bands, picture)| CopyOrder { bands, picture }),
        conditions,
    };
    let page = search.find_page(cursor, digest).await?;
    let took = started.elapsed();
    SEARCH_SECONDS
        .with_label_values(&[kind])
        .observe(took.as_secs_f64());
    Ok(SearchResult {
        hits: page.hits,
        has_bands: search.order.is_some(),
        cursor: page.cursor,
        model: description.name.clone(),
        took,
    })
}

/// The vector of a query, and its picture if the query is a single one.
pub(crate) struct EmbeddedQuery {
    pub vector: Vec<f32>,
    pub picture: Option<QueryPicture>,
}

/// Computes the vector of a query without searching. Images of the index are read in their newest
/// state.
pub(crate) async fn embed_query(
    service: &SearchService,
    serving: &VisibleModel,
    parts: Vec<WeightedPart>,
) -> Result<EmbeddedQuery, Problem> {
    let query = ParsedQuery {
        parts,
        excluded_id: None,
        orientations: false,
    };
    if query.has_text() && !serving.description.has_text() {
        return Err(Problem::model_without_text(&serving.description.name));
    }
    let source = VectorSource {
        service,
        serving,
        consistency: ReadConsistency::Strong,
        orientations: false,
    };
    let mut parts = source.fetch_vectors(query).await?;
    let picture = match parts.as_mut_slice() {
        [part] => part.picture.take(),
        _ => None,
    };
    Ok(EmbeddedQuery {
        vector: combine_upright(parts)?,
        picture,
    })
}

/// Digests all that decides which images are hits and in which order.
fn digest_search(
    serving: &VisibleModel,
    parts: &[PartVectors],
    orientations: bool,
    conditions: &SearchConditions,
) -> SearchDigest {
    let parts: Vec<(&str, f64)> = parts
        .iter()
        .map(|part| (part.identity.as_str(), part.weight))
        .collect();
    let query = format!(
        "{parts:?} {orientations} {:?} {:?} {:?} {:?}",
        // With the visible libraries, because another key may see other hits.
        serving.index.limit_filter(&conditions.filter),
        conditions.min_score,
        conditions.relative_score,
        conditions.group
    );
    let model = &serving.description;
    SearchDigest::new(&query, &format!("{} {}", model.name, model.checksum))
}

/// Returns the vectors of the query: several for the orientations of a picture, else one.
fn combine_parts(parts: Vec<PartVectors>) -> Result<Vec<Vec<f32>>, Problem> {
    let mut parts = parts;
    if let [_] = parts.as_slice()
        && let Some(part) = parts.pop()
    {
        return Ok(part.vectors);
    }
    Ok(vec![combine_upright(parts)?])
}

/// Returns the sum of the vectors of all parts as they are, by their weights.
fn combine_upright(parts: Vec<PartVectors>) -> Result<Vec<f32>, Problem> {
    let weighted = parts.into_iter().flat_map(|part| {
        let upright = part.vectors.into_iter().next();
        upright.map(|vector| (vector, part.weight))
    });
    combine_vectors(&weighted.collect::<Vec<_>>())
}

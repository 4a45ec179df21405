//! The vector of a saved query, computed by the model in service.

use super::record::{QueryVector, SavedPicture, SavedSearchRecord};
use crate::core::engine::{EmbeddedQuery, embed_query};
use crate::core::query::WeightedPart;
use crate::core::service::SearchService;
use crate::core::visible::model::VisibleModel;
use crate::problem::{Code, Problem};

/// Computes the vector of new parts.
pub(crate) async fn compute_query_vector(
    service: &SearchService,
    serving: &VisibleModel,
    parts: Vec<WeightedPart>,
) -> Result<QueryVector, Problem> {
    let EmbeddedQuery { vector, picture } = embed_query(service, serving, parts).await?;
    let model = &serving.description;
    let picture = picture.as_ref().map(SavedPicture::from_query);
    Ok(QueryVector::new(
        &model.name,
        &model.checksum,
        &vector,
        picture,
    ))
}

/// Computes the vector of a stored search again, because the model has changed.
pub(crate) async fn recompute_query_vector(
    service: &SearchService,
    serving: &VisibleModel,
    record: &SavedSearchRecord,
) -> Result<QueryVector, Problem> {
    let parts = record
        .to_weighted_parts()
        .map_err(|detail| Problem::new(Code::InvalidParameter, detail))?;
    let mut computed = compute_query_vector(service, serving, parts).await?;
    // The stored copy of an uploaded picture has another hash than the picture.
    if record.vector.picture.is_some() && record.query_ids().next().is_none() {
        computed.picture.clone_from(&record.vector.picture);
    }
    Ok(computed)
}

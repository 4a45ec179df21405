//! Looks up rows by id or content.

use std::collections::{HashMap, HashSet};

use milvus::v2::prelude::{FieldData, QueryRequest};

use crate::{
    columns::{AnswerColumns, images_from_columns},
    consistency::ReadConsistency,
    error::Error,
    filter::RowFilter,
    index::Index,
    metrics::MilvusCall,
    row::{IndexRow, IndexedImage},
    schema::{IMAGE_FIELDS, field},
    write::MAX_IDS_PER_REQUEST,
};

impl Index {
    /// Returns the images of these ids in their order; ids without a row are skipped.
    pub async fn fetch_images(
        &self,
        ids: &[String],
        consistency: ReadConsistency,
    ) -> Result<Vec<IndexedImage>, Error> {
        let mut images_by_id: HashMap<String, IndexedImage> = HashMap::with_capacity(ids.len());
        let mut chunk_ids = MAX_IDS_PER_REQUEST;
        let mut rest = ids;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.len().min(chunk_ids));
            let filter = RowFilter::Id(chunk.to_vec()).to_expression()?;
            // Twice the number, because a server fault can leave stale rows under one id.
            let columns = self
                .query_columns(
                    MilvusCall::Query,
                    &filter,
                    &IMAGE_FIELDS,
                    chunk.len() * 2,
                    consistency,
                )
                .await;
            match columns {
                Err(Error::AnswerTooLarge { .. }) if chunk.len() > 1 => {
                    chunk_ids = chunk.len() / 2;
                    continue;
                }
                columns => keep_newest(&mut images_by_id, images_from_columns(&columns?)?),
            }
            rest = after;
        }
        Ok(ids
            .iter()
            .filter_map(|id| images_by_id.remove(id))
            .collect())
    }

    /// Returns the vector of one image, or `None` if the index has no such image.
    pub async fn fetch_vector(
        &self,
        id: &str,
        consistency: ReadConsistency,
    ) -> Result<Option<Vec<f32>>, Error> {
        let filter = RowFilter::Id(vec![id.to_owned()]).to_expression()?;
        let columns = self
            .query_columns(
                MilvusCall::Query,
                &filter,
                &[field::ID, field::VECTOR],
                1,
                consistency,
            )
            .await?;
        if columns.iter().all(FieldData::is_empty) {
            return Ok(None);
        }
        let columns = AnswerColumns::new(MilvusCall::Query, &columns);
        Ok(columns.vector_column(field::VECTOR)?.first().cloned())
    }

    /// Returns the vectors of these ids' rows by id, those of the newest rows. Ids without a row are
    /// left out.
    pub async fn fetch_vectors(
        &self,
        ids: &[String],
        consistency: ReadConsistency,
    ) -> Result<HashMap<String, Vec<f32>>, Error> {
        let mut newest: HashMap<String, (i64, Vec<f32>)> = HashMap::with_capacity(ids.len());
        let (mut rest, mut chunk_ids) = (ids, MAX_IDS_PER_REQUEST);
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.len().min(chunk_ids));
            let filter = RowFilter::Id(chunk.to_vec()).to_expression()?;
            // Leaves room for servers that return all rows of an id.
            let limit = chunk.len() * 4;
            let fields = [field::ID, field::GENERATION, field::VECTOR];
            let read = self
                .query_columns(MilvusCall::Query, &filter, &fields, limit, consistency)
                .await;
            let columns = match read {
                Err(Error::AnswerTooLarge { .. }) if chunk_ids > 1 => {
                    chunk_ids = (chunk.len() / 2).max(1);
                    continue;
                }
                read => read?,
            };
            rest = after;
            if columns.iter().all(FieldData::is_empty) {
                continue;
            }
            let columns = AnswerColumns::new(MilvusCall::Query, &columns);
            let generations = columns.number_column(field::GENERATION)?;
            let ids = columns.text_column(field::ID)?;
            let vectors = columns.vector_column(field::VECTOR)?;
            for ((id, generation), vector) in ids.iter().zip(generations).zip(vectors) {
                let known = newest.get(id);
                if known.is_none_or(|(known, _)| *known < *generation) {
                    newest.insert(id.clone(), (*generation, vector.clone()));
                }
            }
        }
        let vectors = newest.into_iter();
        Ok(vectors.map(|(id, (_, vector))| (id, vector)).collect())
    }

    /// Returns the row of one image, or `None` if the index has no such image.
    pub async fn fetch_row(
        &self,
        id: &str,
        consistency: ReadConsistency,
    ) -> Result<Option<IndexRow>, Error> {
        let filter = RowFilter::Id(vec![id.to_owned()]).to_expression()?;
        let fields: Vec<&str> = IMAGE_FIELDS.into_iter().chain([field::VECTOR]).collect();
        let columns = self
            .query_columns(MilvusCall::Query, &filter, &fields, 1, consistency)
            .await?;
        let Some(image) = images_from_columns(&columns)?.into_iter().next() else {
            return Ok(None);
        };
        let columns = AnswerColumns::new(MilvusCall::Query, &columns);
        let vector = columns.vector_column(field::VECTOR)?.first().cloned();
        Ok(vector.map(|vector| IndexRow { image, vector }))
    }

    /// Returns the rows with these ids that pass the filter, in any order.
    pub async fn fetch_rows(
        &self,
        ids: &[String],
        filter: &RowFilter,
        consistency: ReadConsistency,
    ) -> Result<Vec<IndexRow>, Error> {
        let fields: Vec<&str> = IMAGE_FIELDS.into_iter().chain([field::VECTOR]).collect();
        let mut rows_by_id: HashMap<String, IndexRow> = HashMap::with_capacity(ids.len());
        let mut chunk_ids = MAX_IDS_PER_REQUEST;
        let mut rest = ids;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.len().min(chunk_ids));
            let condition = RowFilter::And(vec![RowFilter::Id(chunk.to_vec()), filter.clone()]);
            // Twice the number, because a server fault can leave stale rows under one id.
            let columns = self
                .query_columns(
                    MilvusCall::Query,
                    &condition.to_expression()?,
                    &fields,
                    chunk.len() * 2,
                    consistency,
                )
                .await;
            match columns {
                Err(Error::AnswerTooLarge { .. }) if chunk.len() > 1 => {
                    chunk_ids = chunk.len() / 2;
                    continue;
                }
                columns => {
                    for row in rows_from_columns(&columns?)? {
                        match rows_by_id.get(&row.image.id) {
                            Some(kept) if kept.image.generation > row.image.generation => {}
                            _ => {
                                rows_by_id.insert(row.image.id.clone(), row);
                            }
                        }
                    }
                }
            }
            rest = after;
        }
        Ok(rows_by_id.into_values().collect())
    }

    /// Returns one row with its vector for each content hash of a row that passes the filter. Reads
    /// with bounded consistency, because a miss only costs one embedding.
    pub async fn find_rows_by_content(
        &self,
        hashes: &[String],
        filter: &RowFilter,
    ) -> Result<HashMap<String, IndexRow>, Error> {
        let distinct: HashSet<&String> = hashes.iter().filter(|h| !h.is_empty()).collect();
        let distinct: Vec<String> = distinct.into_iter().cloned().collect();
        // Rows that fit into 3 MiB with attributes of ordinary length.
        let mut max_rows = (3 << 20) / (self.inner.model.dimension * 4 + 2048);
        max_rows = max_rows.clamp(1, 1000);
        let mut rows_by_hash: HashMap<String, IndexRow> = HashMap::new();
        let mut rest = distinct.as_slice();
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.len().min(max_rows));
            match self
                .find_content_chunk(chunk, filter, max_rows, &mut rows_by_hash)
                .await
            {
                Err(Error::AnswerTooLarge { .. }) if max_rows > 1 => max_rows /= 2,
                done => {
                    done?;
                    rest = after;
                }
            }
        }
        Ok(rows_by_hash)
    }

    async fn find_content_chunk(
        &self,
        hashes: &[String],
        filter: &RowFilter,
        most: usize,
        known: &mut HashMap<String, IndexRow>,
    ) -> Result<(), Error> {
        let fields: Vec<&str> = IMAGE_FIELDS.into_iter().chain([field::VECTOR]).collect();
        loop {
            let missing: Vec<String> = hashes
                .iter()
                .filter(|hash| !known.contains_key(*hash))
                .cloned()
                .collect();
            if missing.is_empty() {
                return Ok(());
            }
            let condition = RowFilter::And(vec![RowFilter::ContentHash(missing), filter.clone()]);
            let columns = self
                .query_columns(
                    MilvusCall::Query,
                    &condition.to_expression()?,
                    &fields,
                    most,
                    ReadConsistency::Bounded,
                )
                .await?;
            let rows = rows_from_columns(&columns)?;
            let page_is_full = rows.len() >= most;
            for row in rows {
                known.entry(row.image.content_hash.clone()).or_insert(row);
            }
            // Many copies of one content can fill an answer and displace the others. Each full
            // answer resolves at least one content, so the rest is requested again.
            if !page_is_full {
                return Ok(());
            }
        }
    }

    /// Queries the columns of at most `limit` rows.
    pub(crate) async fn query_columns(
        &self,
        call: MilvusCall,
        filter: &str,
        fields: &[&str],
        limit: usize,
        consistency: ReadConsistency,
    ) -> Result<Vec<FieldData>, Error> {
        let answer = self
            .call_with_retries(call, async |client, collection| {
                let request = QueryRequest::builder()
                    .collection_name(collection)
                    .filter(filter)
                    .output_fields(fields.iter().copied())
                    .limit(limit as i64)
                    .consistency_level(consistency.to_milvus())
                    .build()?;
                client.query(request).await
            })
            .await?;
        Ok(answer.results().get_output_fields().to_vec())
    }
}

/// Returns the rows of an answer with all fields and the vectors.
fn rows_from_columns(columns: &[FieldData]) -> Result<Vec<IndexRow>, Error> {
    let images = images_from_columns(columns)?;
    if images.is_empty() {
        return Ok(Vec::new());
    }
    let columns = AnswerColumns::new(MilvusCall::Query, columns);
    let vectors = columns.vector_column(field::VECTOR)?;
    if vectors.len() != images.len() {
        return Err(Error::unexpected_answer(
            MilvusCall::Query,
            "fewer vectors than rows",
        ));
    }
    let rows = images.into_iter().zip(vectors);
    let rows = rows.map(|(image, vector)| IndexRow {
        image,
        vector: vector.clone(),
    });
    Ok(rows.collect())
}

fn keep_newest(images_by_id: &mut HashMap<String, IndexedImage>, images: Vec<IndexedImage>) {
    for image in images {
        match images_by_id.get(&image.id) {
            Some(kept) if kept.generation > image.generation => {}
            _ => {
                images_by_id.insert(image.id.clone(), image);
            }
        }
    }
}

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

    /// Returns the vectors of these ids; ids without a row are missing.
    pub async fn fetch_vectors(
        &self,
        ids: &[String],
        consistency: ReadConsistency,
    ) -> Result<HashMap<String, Vec<f32>>, Error> {
        // Twice the number of rows, because a server fault can leave stale rows under one id. An answer
        // has at most 3 MiB.
        let row_bytes = self.inner.model.dimension * 4 + 128;
        let mut chunk_ids = ((3 << 20) / row_bytes / 2).clamp(1, MAX_IDS_PER_REQUEST);
        let mut vectors = HashMap::with_capacity(ids.len());
        let mut rest = ids;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.len().min(chunk_ids));
            let filter = RowFilter::Id(chunk.to_vec()).to_expression()?;
            let columns = self
                .query_columns(
                    MilvusCall::Query,
                    &filter,
                    &[field::ID, field::VECTOR],
                    chunk.len() * 2,
                    consistency,
                )
                .await;
            let columns = match columns {
                Err(Error::AnswerTooLarge { .. }) if chunk.len() > 1 => {
                    chunk_ids = chunk.len() / 2;
                    continue;
                }
                columns => columns?,
            };
            if !columns.iter().all(FieldData::is_empty) {
                let columns = AnswerColumns::new(MilvusCall::Query, &columns);
                let found = columns.text_column(field::ID)?.iter().cloned();
                vectors.extend(found.zip(columns.vector_column(field::VECTOR)?.iter().cloned()));
            }
            rest = after;
        }
        Ok(vectors)
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

    /// Returns one row with its vector for each content hash that the index contains. Reads with
    /// bounded consistency, because a miss only costs one embedding.
    pub async fn find_rows_by_content(
        &self,
        hashes: &[String],
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
                .find_content_chunk(chunk, max_rows, &mut rows_by_hash)
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
            let filter = RowFilter::ContentHash(missing).to_expression()?;
            let columns = self
                .query_columns(
                    MilvusCall::Query,
                    &filter,
                    &fields,
                    most,
                    ReadConsistency::Bounded,
                )
                .await?;
            let images = images_from_columns(&columns)?;
            let page_is_full = images.len() >= most;
            if !images.is_empty() {
                let columns = AnswerColumns::new(MilvusCall::Query, &columns);
                let vectors = columns.vector_column(field::VECTOR)?;
                if vectors.len() != images.len() {
                    return Err(Error::unexpected_answer(
                        MilvusCall::Query,
                        "fewer vectors than rows",
                    ));
                }
                for (image, vector) in images.into_iter().zip(vectors) {
                    known
                        .entry(image.content_hash.clone())
                        .or_insert_with(|| IndexRow {
                            image,
                            vector: vector.clone(),
                        });
                }
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

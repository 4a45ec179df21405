//! Reads single columns of many rows, to count their values.
//!
//! Milvus 2.3 cannot group rows, so the caller counts. The rows come in the order of ids. These are
//! hashes, so the first rows are a random sample of all.

use milvus::v2::prelude::FieldData;

use crate::{
    columns::AnswerColumns, consistency::ReadConsistency, error::Error, filter::RowFilter,
    index::Index, metrics::MilvusCall, schema::field,
};

/// A column that can be read alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FacetColumn {
    Library,
    Path,
    Format,
    TakenAt,
    Camera,
    Tags,
    Colors,
}

impl FacetColumn {
    fn field_name(self) -> &'static str {
        match self {
            Self::Library => field::LIBRARY,
            Self::Path => field::PATH,
            Self::Format => field::FORMAT,
            Self::TakenAt => field::TAKEN_AT,
            Self::Camera => field::CAMERA,
            Self::Tags => field::TAGS,
            Self::Colors => field::COLORS,
        }
    }
}

/// A row with the requested columns; the others are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FacetRow {
    pub id: String,
    pub library: String,
    pub path: String,
    pub format: String,
    /// Milliseconds since 1970, if the file states a time.
    pub taken_at: Option<i64>,
    /// Empty if the file states none.
    pub camera: String,
    pub tags: Vec<String>,
    pub colors: Vec<String>,
}

impl Index {
    /// Returns some of the rows that pass the filter, at most `max_rows`, in the order of their ids
    /// and after the id `after`. Only an empty result means that no rows are left.
    pub async fn facet_rows(
        &self,
        filter: &RowFilter,
        columns: &[FacetColumn],
        after: Option<&str>,
        max_rows: usize,
    ) -> Result<Vec<FacetRow>, Error> {
        let condition = filter.to_expression()?;
        let mut fields = vec![field::ID];
        fields.extend(columns.iter().map(|column| column.field_name()));
        let page = self
            .read_page(
                MilvusCall::Query,
                &condition,
                &fields,
                after.unwrap_or_default(),
                max_rows,
                ReadConsistency::Bounded,
            )
            .await?;
        if page.iter().all(FieldData::is_empty) {
            return Ok(Vec::new());
        }
        read_facet_rows(&AnswerColumns::new(MilvusCall::Query, &page), columns)
    }
}

fn read_facet_rows(
    answer: &AnswerColumns<'_>,
    columns: &[FacetColumn],
) -> Result<Vec<FacetRow>, Error> {
    let ids = answer.text_column(field::ID)?;
    let mut rows: Vec<FacetRow> = ids
        .iter()
        .map(|id| FacetRow {
            id: id.clone(),
            ..FacetRow::default()
        })
        .collect();
    for column in columns {
        let name = column.field_name();
        match column {
            FacetColumn::Library => fill(&mut rows, answer.text_column(name)?, |row, text| {
                row.library.clone_from(text);
            })?,
            FacetColumn::Path => fill(&mut rows, answer.text_column(name)?, |row, text| {
                row.path.clone_from(text);
            })?,
            FacetColumn::Format => fill(&mut rows, answer.text_column(name)?, |row, text| {
                row.format.clone_from(text);
            })?,
            FacetColumn::Camera => fill(&mut rows, answer.text_column(name)?, |row, text| {
                row.camera.clone_from(text);
            })?,
            FacetColumn::TakenAt => fill(&mut rows, answer.number_column(name)?, |row, ms| {
                row.taken_at = (*ms != 0).then_some(*ms);
            })?,
            FacetColumn::Tags => fill(&mut rows, &answer.list_column(name)?, |row, list| {
                row.tags.clone_from(list);
            })?,
            FacetColumn::Colors => fill(&mut rows, &answer.list_column(name)?, |row, list| {
                row.colors.clone_from(list);
            })?,
        }
    }
    rows.sort_by(|a, b| a.id.cmp(&b.id));
    // A server fault can leave several rows of one id.
    rows.dedup_by(|later, earlier| later.id == earlier.id);
    Ok(rows)
}

fn fill<T>(
    rows: &mut [FacetRow],
    values: &[T],
    set: impl Fn(&mut FacetRow, &T),
) -> Result<(), Error> {
    if values.len() != rows.len() {
        return Err(Error::unexpected_answer(
            MilvusCall::Query,
            "columns of different lengths",
        ));
    }
    for (row, value) in rows.iter_mut().zip(values) {
        set(row, value);
    }
    Ok(())
}

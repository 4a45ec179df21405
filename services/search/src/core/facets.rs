//! Facets: how many images have each value of an attribute.
//!
//! Milvus 2.3 cannot group rows, so their columns are read in pages and counted here, up to a number
//! of images and a time. The pages are in the order of ids, which are hashes: what was counted until
//! then is a random sample.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use lookalike_index::{FacetColumn, FacetRow, RowFilter};

use super::service::SearchService;
use crate::problem::Problem;
use crate::time::{FIRST_MS, format_time};

/// An attribute whose values are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum FacetField {
    Library,
    Folder,
    Format,
    Camera,
    Color,
    Tag,
    Year,
    Month,
}

impl FacetField {
    pub(crate) const ALL: [Self; 8] = [
        Self::Library,
        Self::Folder,
        Self::Format,
        Self::Camera,
        Self::Color,
        Self::Tag,
        Self::Year,
        Self::Month,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Library => "library",
            Self::Folder => "folder",
            Self::Format => "format",
            Self::Camera => "camera",
            Self::Color => "color",
            Self::Tag => "tag",
            Self::Year => "year",
            Self::Month => "month",
        }
    }

    fn column(self) -> FacetColumn {
        match self {
            Self::Library => FacetColumn::Library,
            Self::Folder => FacetColumn::Path,
            Self::Format => FacetColumn::Format,
            Self::Camera => FacetColumn::Camera,
            Self::Color => FacetColumn::Colors,
            Self::Tag => FacetColumn::Tags,
            Self::Year | Self::Month => FacetColumn::TakenAt,
        }
    }

    /// Returns the values of a row, each once.
    fn values(self, row: &FacetRow) -> Vec<String> {
        let text = |text: &str| match text {
            "" => vec![],
            text => vec![text.to_owned()],
        };
        let start_of_time = |bytes: usize| {
            // No filter can name an earlier time.
            let time = row.taken_at.filter(|time| *time >= FIRST_MS);
            time.map(format_time)
                .map_or(vec![], |time| vec![time[..bytes].to_owned()])
        };
        match self {
            Self::Library => text(&row.library),
            Self::Folder => folders_of_path(&row.path),
            Self::Format => text(&row.format),
            Self::Camera => text(&row.camera),
            Self::Color => unique(&row.colors),
            Self::Tag => unique(&row.tags),
            Self::Year => start_of_time("2026".len()),
            Self::Month => start_of_time("2026-11".len()),
        }
    }
}

/// Returns all folders that contain a file, as filters name them: `a/b/c.jpg` is in `a/` and `a/b/`.
fn folders_of_path(path: &str) -> Vec<String> {
    let ends = path.match_indices('/').map(|(at, _)| at + 1);
    ends.map(|end| path[..end].to_owned()).collect()
}

fn unique(values: &[String]) -> Vec<String> {
    let mut seen = HashSet::new();
    let values = values.iter().filter(|value| seen.insert(*value));
    values.cloned().collect()
}

/// The values of one attribute.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CountedField {
    /// The most frequent ones with their numbers of images, most frequent first.
    pub values: Vec<(String, u64)>,
    /// How many different values there are.
    pub distinct: u64,
    /// Images without any value.
    pub without: u64,
}

pub(crate) struct FacetResult {
    pub fields: Vec<(FacetField, CountedField)>,
    /// Images that were counted.
    pub images: u64,
    /// Images that match, about.
    pub total: u64,
    /// Whether every image and every value was counted.
    pub is_complete: bool,
    pub took: Duration,
}

/// Rows of one request to the index. Their columns fit into an answer of 4 MiB unless paths are long.
const ROWS_PER_PAGE: usize = 4000;

/// Memory for the different values of one request.
const MAX_VALUE_BYTES: usize = 8 << 20;

/// Counts the values of images that match.
pub(crate) async fn count_facets(
    service: &SearchService,
    filter: &RowFilter,
    fields: &[FacetField],
    max_values: usize,
) -> Result<FacetResult, Problem> {
    let _permit = service.facet_permits.acquire()?;
    let started = Instant::now();
    let (max_images, timeout) = (
        service.settings.max_facet_images,
        service.settings.facet_timeout,
    );
    let index = service.load_model().index;
    let mut columns: Vec<FacetColumn> = fields.iter().map(|field| field.column()).collect();
    let mut seen = HashSet::new();
    columns.retain(|column| seen.insert(*column));
    let mut counter = FacetCounter::new(fields, MAX_VALUE_BYTES);
    let mut last: Option<String> = None;
    let mut is_complete = false;
    while counter.images < max_images as u64 && (started.elapsed() < timeout || last.is_none()) {
        let rest = max_images - counter.images as usize;
        let max_rows = rest.min(ROWS_PER_PAGE);
        let rows = index
            .facet_rows(filter, &columns, last.as_deref(), max_rows)
            .await?;
        let Some(row) = rows.last() else {
            is_complete = true;
            break;
        };
        last = Some(row.id.clone());
        for row in &rows {
            counter.add_row(row);
        }
    }
    let total = match is_complete {
        true => counter.images,
        false => index.approximate_count(filter).await?.max(counter.images),
    };
    Ok(FacetResult {
        images: counter.images,
        total,
        is_complete: !counter.is_full && (is_complete || total == counter.images),
        fields: counter.finish(max_values),
        took: started.elapsed(),
    })
}

/// Counts the values of rows, within a limit of memory.
struct FacetCounter {
    fields: Vec<(FacetField, HashMap<String, u64>, u64)>,
    images: u64,
    free_bytes: usize,
    /// Values were left out because the memory is used up.
    is_full: bool,
}

impl FacetCounter {
    fn new(fields: &[FacetField], max_value_bytes: usize) -> Self {
        let fields = fields.iter().map(|field| (*field, HashMap::new(), 0));
        Self {
            fields: fields.collect(),
            images: 0,
            free_bytes: max_value_bytes,
            is_full: false,
        }
    }

    fn add_row(&mut self, row: &FacetRow) {
        self.images += 1;
        for (field, counts, without) in &mut self.fields {
            let values = field.values(row);
            *without += u64::from(values.is_empty());
            for value in values {
                if let Some(count) = counts.get_mut(&value) {
                    *count += 1;
                } else if value.len() <= self.free_bytes {
                    self.free_bytes -= value.len();
                    counts.insert(value, 1);
                } else {
                    self.is_full = true;
                }
            }
        }
    }

    fn finish(self, max_values: usize) -> Vec<(FacetField, CountedField)> {
        let fields = self.fields.into_iter();
        let counted = fields.map(|(field, counts, without)| {
            let distinct = counts.len() as u64;
            let mut values: Vec<(String, u64)> = counts.into_iter().collect();
            values.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            values.truncate(max_values);
            let counted = CountedField {
                values,
                distinct,
                without,
            };
            (field, counted)
        });
        counted.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test_row(path: &str, tags: &[&str], taken_at: Option<i64>) -> FacetRow {
        FacetRow {
            id: String::new(),
            library: "shop".into(),
            path: path.into(),
            format: "jpeg".into(),
            taken_at,
            camera: String::new(),
            tags: tags.iter().map(ToString::to_string).collect(),
            colors: vec!["red".into(), "blue".into()],
        }
    }

    fn count_rows(rows: &[FacetRow], max_value_bytes: usize) -> FacetCounter {
        let mut counter = FacetCounter::new(&FacetField::ALL, max_value_bytes);
        for row in rows {
            counter.add_row(row);
        }
        counter
    }

    fn counted(values: &[(&str, u64)], distinct: u64, without: u64) -> CountedField {
        let values = values
            .iter()
            .map(|(value, count)| ((*value).to_owned(), *count));
        CountedField {
            values: values.collect(),
            distinct,
            without,
        }
    }

    #[test]
    fn every_value_is_counted_once_per_image() {
        let rows = [
            test_row("a.jpg", &["x", "y", "x"], None),
            test_row("2026/a/b.jpg", &["y"], Some(1_767_225_600_000)),
            test_row("2026/c.jpg", &[], Some(-1)),
        ];
        let fields = count_rows(&rows, 1000).finish(2);
        let by_name: HashMap<&str, CountedField> = fields
            .into_iter()
            .map(|(field, counted)| (field.name(), counted))
            .collect();
        assert_eq!(by_name["library"], counted(&[("shop", 3)], 1, 0));
        assert_eq!(
            by_name["folder"],
            counted(&[("2026/", 2), ("2026/a/", 1)], 2, 1)
        );
        assert_eq!(by_name["camera"], counted(&[], 0, 3));
        assert_eq!(by_name["color"], counted(&[("blue", 3), ("red", 3)], 2, 0));
        assert_eq!(by_name["tag"], counted(&[("y", 2), ("x", 1)], 2, 1));
        assert_eq!(by_name["year"], counted(&[("1969", 1), ("2026", 1)], 2, 1));
        assert_eq!(
            by_name["month"],
            counted(&[("1969-12", 1), ("2026-01", 1)], 2, 1)
        );
    }

    #[test]
    fn rare_values_beyond_the_limit_are_left_out() {
        let rows: Vec<FacetRow> = (0..10)
            .map(|n| test_row(&format!("{n}.jpg"), &[&format!("tag {n}")], None))
            .collect();
        let counter = count_rows(&rows, 10_000);
        assert!(!counter.is_full);
        let tags = |counter: FacetCounter| counter.finish(3).swap_remove(5).1;
        let all = tags(counter);
        assert_eq!((all.values.len(), all.distinct), (3, 10));
        let counter = count_rows(&rows, 30);
        assert!(counter.is_full);
        assert!(tags(counter).distinct < 10);
    }

    #[test]
    fn times_beyond_all_filters_have_no_year() {
        let row = test_row("a.jpg", &[], Some(i64::MIN));
        assert!(FacetField::Year.values(&row).is_empty());
        let row = test_row("a.jpg", &[], Some(i64::MAX));
        assert_eq!(FacetField::Year.values(&row), ["9999"]);
    }
}

//! Writes and searches synthetic rows with lookalike's own index code.

use std::time::{Duration, Instant};

use lookalike_chassis::stdio;
use lookalike_index::{
    Index, IndexRow, IndexedImage, ModelIdentity, ModelSource, ReadConsistency, SearchQuery,
    Settings,
};

use super::vectors::{ExactSearch, NEIGHBOURS, SyntheticVectors, recall_of};

/// Rows that are made, compared with the queries and written at once.
const CHUNK_ROWS: usize = 8192;

/// Upserts in flight.
const WRITERS: usize = 2;

/// An index with synthetic rows, in a namespace of its own.
pub struct SyntheticIndex {
    index: Index,
}

/// Latencies and recall of all queries.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchMeasurement {
    pub recall: f64,
    /// Milliseconds, sorted.
    pub latencies: Vec<f64>,
}

impl SearchMeasurement {
    /// Returns the latency below which `share` of the searches were.
    pub fn latency_at(&self, share: f64) -> f64 {
        let count = self.latencies.len();
        let place = ((count as f64 * share) as usize).min(count.saturating_sub(1));
        self.latencies.get(place).copied().unwrap_or(f64::NAN)
    }
}

impl SyntheticIndex {
    /// Creates an empty collection with the default parameters.
    pub async fn create(milvus_url: &str, dimension: usize) -> anyhow::Result<Self> {
        let settings = Settings {
            url: milvus_url.to_owned(),
            namespace: format!("bench_{}", std::process::id()),
            // A busy server may be slow while it builds its index.
            call_timeout: Duration::from_secs(120),
            admin_timeout: Duration::from_secs(600),
            ..Settings::default()
        };
        let model = ModelIdentity {
            name: format!("synthetic-{dimension}"),
            dimension,
            checksum: "0".repeat(64),
            preprocessing: "none".to_owned(),
        };
        // A collection that is not in service can be removed at the end.
        let index = Index::open_shadow(&settings, &model, &ModelSource::default()).await?;
        Ok(Self { index })
    }

    pub fn collection(&self) -> String {
        self.index.collection().to_string()
    }

    /// Writes rows `0..rows` and returns the rows per second. `exact` sees every row; the time for this
    /// and for making the rows does not count.
    pub async fn write_rows(
        &self,
        source: &SyntheticVectors,
        rows: usize,
        exact: &mut ExactSearch,
    ) -> anyhow::Result<f64> {
        let mut writing = Duration::ZERO;
        for first in (0..rows).step_by(CHUNK_ROWS) {
            let numbers = first..rows.min(first + CHUNK_ROWS);
            let vectors: Vec<Vec<f32>> = numbers.clone().map(|number| source.row(number)).collect();
            exact.add_rows(first, &vectors);
            let chunk: Vec<IndexRow> = numbers
                .zip(vectors)
                .map(|(number, vector)| synthetic_row(number, vector))
                .collect();
            let share = chunk.len().div_ceil(WRITERS);
            let started = Instant::now();
            let mut writers = tokio::task::JoinSet::new();
            for part in chunk.chunks(share) {
                let (index, part) = (self.index.clone(), part.to_vec());
                writers.spawn(async move { index.upsert_rows(&part).await });
            }
            while let Some(written) = writers.join_next().await {
                written??;
            }
            writing += started.elapsed();
            if first % (CHUNK_ROWS * 8) == 0 {
                stdio::eprint_line(&format!("{} of {rows} rows written", first + chunk.len()));
            }
        }
        Ok(rows as f64 / writing.as_secs_f64())
    }

    /// Searches one query after the other.
    pub async fn search_all(&self, exact: &ExactSearch) -> anyhow::Result<SearchMeasurement> {
        let query = SearchQuery {
            limit: NEIGHBOURS,
            consistency: ReadConsistency::Bounded,
            ..SearchQuery::default()
        };
        let (mut latencies, mut found) = (Vec::new(), Vec::new());
        for vector in exact.queries() {
            let started = Instant::now();
            let hits = self.index.search_by_vector(vector, &query).await?;
            latencies.push(started.elapsed().as_secs_f64() * 1000.0);
            let number = |id: &str| u32::from_str_radix(id, 16).ok();
            found.push(
                hits.iter()
                    .filter_map(|hit| number(&hit.image.id))
                    .collect(),
            );
        }
        latencies.sort_by(f64::total_cmp);
        Ok(SearchMeasurement {
            recall: recall_of(&found, &exact.neighbours()),
            latencies,
        })
    }

    /// Removes the collection.
    pub async fn drop_collection(self) -> anyhow::Result<()> {
        let collections = self.index.collections();
        Ok(collections.remove_collection(&self.collection()).await?)
    }
}

/// Returns a row whose id is its number in hexadecimal.
fn synthetic_row(number: usize, vector: Vec<f32>) -> IndexRow {
    IndexRow {
        image: IndexedImage {
            id: format!("{number:032x}"),
            library: "bench".to_owned(),
            path: format!("{:04}/{number:08}.jpg", number / 1000),
            content_hash: format!("{number:064x}"),
            generation: 1,
            width: 640,
            height: 480,
            bytes: 100_000,
            format: "jpeg".to_owned(),
            colors: vec!["grey".to_owned()],
            ..IndexedImage::default()
        },
        vector,
    }
}

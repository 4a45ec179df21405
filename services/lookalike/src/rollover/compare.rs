//! Two models on the user's own pictures: of how many nearest neighbours of a picture do they
//! agree?

use std::collections::HashSet;

use futures_util::StreamExt as _;
use lookalike_index::{
    Error, Index, IndexHit, IndexedImage, ReadConsistency, RowFilter, SearchQuery,
};
use serde_json::{Value, json};

/// Neighbours of each picture.
const NEIGHBOURS: usize = 10;

/// Searches at once.
const MAX_CONCURRENT_SEARCHES: usize = 4;

/// A picture that both were asked about.
#[derive(Debug, Clone)]
pub(super) struct ImageComparison {
    pub image: IndexedImage,
    /// Its nearest neighbours before and after, nearest first, without itself.
    pub neighbours: [Vec<IndexHit>; 2],
}

impl ImageComparison {
    /// Neighbours that both have.
    pub(super) fn shared_ids(&self) -> HashSet<&str> {
        let [before, after] = &self.neighbours;
        let before: HashSet<&str> = before.iter().map(|hit| &*hit.image.id).collect();
        let after = after.iter().map(|hit| &*hit.image.id);
        after.filter(|id| before.contains(id)).collect()
    }

    fn neighbour_count(&self) -> usize {
        self.neighbours[0].len().max(self.neighbours[1].len())
    }

    pub(super) fn shared_fraction(&self) -> f64 {
        self.shared_ids().len() as f64 / self.neighbour_count().max(1) as f64
    }

    fn has_same_first(&self) -> bool {
        let first = |near: &[IndexHit]| near.first().map(|hit| hit.image.id.clone());
        first(&self.neighbours[0]) == first(&self.neighbours[1])
    }
}

/// All pictures that both were asked about, those first in which they differ most.
#[derive(Debug, Clone, Default)]
pub(super) struct ModelComparison {
    pub images: Vec<ImageComparison>,
}

impl ModelComparison {
    /// The share of common neighbours.
    pub(super) fn shared_fraction(&self) -> f64 {
        let common: usize = self
            .images
            .iter()
            .map(|query| query.shared_ids().len())
            .sum();
        let of: usize = self
            .images
            .iter()
            .map(ImageComparison::neighbour_count)
            .sum();
        common as f64 / of.max(1) as f64
    }

    /// The share of pictures with the same first neighbour.
    fn same_first_fraction(&self) -> f64 {
        let same = self.images.iter().filter(|query| query.has_same_first());
        same.count() as f64 / self.images.len().max(1) as f64
    }

    pub(super) fn summary_lines(&self) -> Vec<String> {
        if self.images.is_empty() {
            return vec!["there are no two pictures that could be compared".to_owned()];
        }
        vec![format!(
            "of the {NEIGHBOURS} nearest neighbours of {} pictures, {:.0} % are the same; the very \
             first is the same for {:.0} %",
            self.images.len(),
            self.shared_fraction() * 100.0,
            self.same_first_fraction() * 100.0
        )]
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "pictures": self.images.len(),
            "neighbours": NEIGHBOURS,
            "shared": self.shared_fraction(),
            "same_first_neighbour": self.same_first_fraction(),
        })
    }
}

/// Asks both for the neighbours of these images.
///
/// # Errors
/// As the server says.
pub(super) async fn compare_models(
    before: &Index,
    after: &Index,
    ids: &[String],
) -> Result<ModelComparison, Error> {
    let asked = ids.iter().map(|id| compare_image(before, after, id));
    let mut asked = futures_util::stream::iter(asked).buffered(MAX_CONCURRENT_SEARCHES);
    let mut queries = Vec::new();
    while let Some(query) = asked.next().await {
        queries.extend(query?.filter(|query| query.neighbour_count() > 0));
    }
    queries.sort_by(|a, b| a.shared_fraction().total_cmp(&b.shared_fraction()));
    Ok(ModelComparison { images: queries })
}

/// `None` where it is gone by now.
async fn compare_image(
    before: &Index,
    after: &Index,
    id: &str,
) -> Result<Option<ImageComparison>, Error> {
    let ids = [id.to_owned()];
    let images = before.fetch_images(&ids, ReadConsistency::Bounded).await?;
    let Some(image) = images.into_iter().next() else {
        return Ok(None);
    };
    let (near_before, near_after) = tokio::try_join!(
        nearest_neighbours(before, id),
        nearest_neighbours(after, id)
    )?;
    Ok(near_before
        .zip(near_after)
        .map(|(before, after)| ImageComparison {
            image,
            neighbours: [before, after],
        }))
}

async fn nearest_neighbours(index: &Index, id: &str) -> Result<Option<Vec<IndexHit>>, Error> {
    let Some(vector) = index.fetch_vector(id, ReadConsistency::Bounded).await? else {
        return Ok(None);
    };
    let query = SearchQuery {
        limit: NEIGHBOURS,
        filter: RowFilter::NotId(vec![id.to_owned()]),
        ..SearchQuery::default()
    };
    index.search_by_vector(&vector, &query).await.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_common_is_counted() {
        let hits = |ids: &str| -> Vec<IndexHit> {
            let ids = ids.chars().map(String::from);
            ids.map(|id| IndexHit {
                image: IndexedImage {
                    id,
                    ..IndexedImage::default()
                },
                score: 0.5,
            })
            .collect()
        };
        let query = |before: &str, after: &str| ImageComparison {
            image: IndexedImage::default(),
            neighbours: [hits(before), hits(after)],
        };
        let compared = ModelComparison {
            images: vec![query("abcd", "bdxy"), query("ab", "ab")],
        };
        assert!((compared.images[0].shared_fraction() - 0.5).abs() < 1e-9);
        assert!((compared.shared_fraction() - 4.0 / 6.0).abs() < 1e-9);
        assert!((compared.same_first_fraction() - 0.5).abs() < 1e-9);
        assert!(
            compared.summary_lines()[0].contains("67 %"),
            "{:?}",
            compared.summary_lines()
        );
        assert!(ModelComparison::default().summary_lines()[0].contains("no two"));
    }
}

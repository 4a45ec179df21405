//! Compares two models on the user's own pictures: how many of a picture's nearest neighbours do
//! they have in common?

use std::collections::HashSet;

use futures_util::StreamExt as _;
use lookalike_index::{
    Error, Index, IndexHit, IndexedImage, ReadConsistency, RowFilter, SearchQuery,
};
use serde_json::{Value, json};

/// Neighbours that are compared for each picture.
const NEIGHBOURS: usize = 10;
const MAX_CONCURRENT_SEARCHES: usize = 4;

/// A picture and its neighbours by both models.
#[derive(Debug, Clone)]
pub(super) struct ImageComparison {
    pub(super) image: IndexedImage,
    /// By the old and the new model, nearest first, without the picture itself.
    pub(super) neighbours: [Vec<IndexHit>; 2],
}

impl ImageComparison {
    /// The ids of the neighbours that both models find.
    pub(super) fn shared_ids(&self) -> HashSet<&str> {
        let [old, new] = &self.neighbours;
        let old: HashSet<&str> = old.iter().map(|hit| &*hit.image.id).collect();
        let new = new.iter().map(|hit| &*hit.image.id);
        new.filter(|id| old.contains(id)).collect()
    }

    fn neighbour_count(&self) -> usize {
        let [old, new] = &self.neighbours;
        old.len().max(new.len())
    }

    fn shared_fraction(&self) -> f64 {
        self.shared_ids().len() as f64 / self.neighbour_count().max(1) as f64
    }

    fn has_same_first(&self) -> bool {
        let [old, new] = &self.neighbours;
        let first_id = |hits: &[IndexHit]| hits.first().map(|hit| hit.image.id.clone());
        first_id(old) == first_id(new)
    }
}

/// All compared pictures, those with the largest difference first.
#[derive(Debug, Clone, Default)]
pub(super) struct ModelComparison {
    pub(super) images: Vec<ImageComparison>,
}

impl ModelComparison {
    /// The fraction of all neighbours that both models find.
    pub(super) fn shared_fraction(&self) -> f64 {
        let shared: usize = self
            .images
            .iter()
            .map(|image| image.shared_ids().len())
            .sum();
        let total: usize = self
            .images
            .iter()
            .map(ImageComparison::neighbour_count)
            .sum();
        shared as f64 / total.max(1) as f64
    }

    /// The fraction of pictures whose nearest neighbour is the same by both models.
    fn same_first_fraction(&self) -> f64 {
        let same = self.images.iter().filter(|image| image.has_same_first());
        same.count() as f64 / self.images.len().max(1) as f64
    }

    pub(super) fn summary_lines(&self) -> Vec<String> {
        if self.images.is_empty() {
            return vec!["there are no two pictures to compare".to_owned()];
        }
        vec![format!(
            "{:.0} % of the {NEIGHBOURS} nearest neighbours of {} pictures are the same; for \
             {:.0} % of the pictures, the nearest one is",
            self.shared_fraction() * 100.0,
            self.images.len(),
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

/// Searches both indexes for the neighbours of these images.
pub(super) async fn compare_models(
    old: &Index,
    new: &Index,
    ids: &[String],
) -> Result<ModelComparison, Error> {
    let searches = ids.iter().map(|id| compare_image(old, new, id));
    let mut searches = futures_util::stream::iter(searches).buffered(MAX_CONCURRENT_SEARCHES);
    let mut images = Vec::new();
    while let Some(image) = searches.next().await {
        images.extend(image?.filter(|image| image.neighbour_count() > 0));
    }
    images.sort_by(|a, b| a.shared_fraction().total_cmp(&b.shared_fraction()));
    Ok(ModelComparison { images })
}

/// Returns `None` if the image was removed meanwhile.
async fn compare_image(
    old: &Index,
    new: &Index,
    id: &str,
) -> Result<Option<ImageComparison>, Error> {
    let ids = [id.to_owned()];
    let images = old.fetch_images(&ids, ReadConsistency::Bounded).await?;
    let Some(image) = images.into_iter().next() else {
        return Ok(None);
    };
    let (old, new) = tokio::try_join!(nearest_neighbours(old, id), nearest_neighbours(new, id))?;
    Ok(old.zip(new).map(|(old, new)| ImageComparison {
        image,
        neighbours: [old, new],
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
    fn shared_neighbours_are_counted() {
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
        let image = |old: &str, new: &str| ImageComparison {
            image: IndexedImage::default(),
            neighbours: [hits(old), hits(new)],
        };
        let comparison = ModelComparison {
            images: vec![image("abcd", "bdxy"), image("ab", "ab")],
        };
        assert!((comparison.images[0].shared_fraction() - 0.5).abs() < 1e-9);
        assert!((comparison.shared_fraction() - 4.0 / 6.0).abs() < 1e-9);
        assert!((comparison.same_first_fraction() - 0.5).abs() < 1e-9);
        assert!(
            comparison.summary_lines()[0].contains("67 %"),
            "{:?}",
            comparison.summary_lines()
        );
        assert!(ModelComparison::default().summary_lines()[0].contains("no two"));
    }
}

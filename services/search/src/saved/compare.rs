//! Compares pictures with one saved search.

use lookalike_index::{IndexHit, IndexRow};
use lookalike_vision::{Band, Bands};

use super::record::Threshold;
use crate::core::hit_bands::{BandedHits, QueryPicture};

/// A saved search with what a comparison needs.
#[derive(Debug)]
pub(super) struct SearchComparison {
    pub vector: Vec<f32>,
    /// Present if the query is a single picture.
    pub picture: Option<QueryPicture>,
    /// The bands of the model, if they hold for the scores of this query.
    pub bands: Option<Bands>,
    pub threshold: Threshold,
    /// Images that are never matches.
    pub excluded_ids: Vec<String>,
}

/// A picture that is similar enough.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FoundMatch {
    pub hit: IndexHit,
    pub band: Option<Band>,
}

impl SearchComparison {
    /// Returns the rows that are similar enough.
    pub(super) fn find_matches<'a>(
        &self,
        rows: impl IntoIterator<Item = &'a IndexRow>,
    ) -> Vec<FoundMatch> {
        let rows = rows
            .into_iter()
            .filter(|row| !self.excluded_ids.contains(&row.image.id))
            .map(|row| (cosine(&self.vector, &row.vector), row));
        // Only a band needs a comparison of pictures with low scores: turned copies have such scores.
        let rows = rows.filter(|(score, _)| match self.threshold {
            Threshold::MinScore(least) => f64::from(*score) >= least,
            Threshold::Band(_) => true,
        });
        let hits = rows.map(|(score, row)| IndexHit {
            image: row.image.clone(),
            score,
        });
        let mut hits: Vec<IndexHit> = hits.collect();
        hits.sort_by(|a, b| b.score.total_cmp(&a.score));
        let banded = match (&self.bands, &self.picture) {
            (Some(bands), Some(picture)) => {
                let banded = BandedHits::compare(bands, picture, hits);
                let bands = banded.bands.into_iter().map(Some);
                banded.hits.into_iter().zip(bands).collect()
            }
            _ => hits.into_iter().map(|hit| (hit, None)).collect::<Vec<_>>(),
        };
        let found = banded.into_iter().filter(|(_, band)| match self.threshold {
            Threshold::MinScore(_) => true,
            Threshold::Band(worst) => band.is_some_and(|band| band <= worst),
        });
        found.map(|(hit, band)| FoundMatch { hit, band }).collect()
    }
}

/// Returns the cosine of two unit vectors; −1 if their lengths differ.
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    if a.len() != b.len() {
        return -1.0;
    }
    let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
    products.sum::<f64>().clamp(-1.0, 1.0) as f32
}

#[cfg(test)]
mod tests {
    use lookalike_index::IndexedImage;

    use super::*;

    fn row(id: &str, vector: &[f32]) -> IndexRow {
        IndexRow {
            image: IndexedImage {
                id: id.into(),
                content_hash: format!("content of {id}"),
                ..IndexedImage::default()
            },
            vector: vector.to_vec(),
        }
    }

    fn ids(found: &[FoundMatch]) -> Vec<&str> {
        found
            .iter()
            .map(|found| found.hit.image.id.as_str())
            .collect()
    }

    fn comparison(threshold: Threshold) -> SearchComparison {
        SearchComparison {
            vector: vec![1.0, 0.0],
            picture: None,
            bands: None,
            threshold,
            excluded_ids: vec!["self".into()],
        }
    }

    #[test]
    fn the_threshold_and_the_images_of_the_query_decide() {
        let rows = [
            row("far", &[0.0, 1.0]),
            row("near", &[0.8, 0.6]),
            row("self", &[1.0, 0.0]),
            row("same", &[1.0, 0.0]),
            row("other model", &[1.0]),
        ];
        let found = comparison(Threshold::MinScore(0.8)).find_matches(&rows);
        assert_eq!(ids(&found), ["same", "near"]);
        assert_eq!(found[1].band, None);
        let found = comparison(Threshold::MinScore(0.81)).find_matches(&rows);
        assert_eq!(ids(&found), ["same"]);
    }

    #[test]
    fn a_band_includes_the_better_ones() {
        let bands = Bands {
            same: 0.95,
            near_duplicate: 0.9,
            very_similar: 0.7,
            similar: 0.4,
        };
        let rows = [
            row("no match", &[0.0, 1.0]),
            row("very similar", &[0.8, 0.6]),
            row("same", &[1.0, 0.0]),
        ];
        let with_bands = |threshold| SearchComparison {
            bands: Some(bands),
            picture: Some(QueryPicture {
                content_hash: "of the query".into(),
                sketch: None,
            }),
            ..comparison(threshold)
        };
        let find = |band| with_bands(Threshold::Band(band)).find_matches(&rows);
        assert_eq!(ids(&find(Band::NearDuplicate)), ["same"]);
        assert_eq!(ids(&find(Band::VerySimilar)), ["same", "very similar"]);
        assert_eq!(find(Band::Similar)[1].band, Some(Band::VerySimilar));
        let found = comparison(Threshold::Band(Band::Similar)).find_matches(&rows);
        assert!(found.is_empty(), "without bands, nothing has a band");
    }
}

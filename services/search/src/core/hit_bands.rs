//! Bands of hits: the meaning of a score, confirmed by comparing the pictures.
//!
//! Vectors of pictures with little in them (pages of text, night skies, solid colours) are nearly equal
//! although the pictures differ. "Same picture" and "near-duplicate" therefore require that the sketches
//! of both pictures agree. The sketches also recognise turned and mirrored copies, whose vectors may be
//! far apart. A row that an earlier version wrote has no sketch: its score alone decides.
//!
//! Similar pictures, such as several photos of a shelf, can have a higher score than a copy of the picture itself
//! that is small, turned or without colour. Copies are therefore moved before the other hits.

use lookalike_index::{IndexHit, IndexedImage};
use lookalike_vision::{AlterationSearch, Band, Bands, Sketch};

/// Searches for altered copies per answer; each takes up to 0.05 ms.
const MAX_ALTERATION_CHECKS: usize = 200;

/// Fewer hits are never compared, because the same picture can be behind similar ones.
pub(crate) const MIN_COMPARED_HITS: usize = 64;

/// Comparing more hits than this can take more than a millisecond, so it needs a blocking thread.
pub(crate) const MAX_INLINE_HITS: usize = 10;

/// What is known of the picture of a query besides its vector.
#[derive(Debug, Clone)]
pub(crate) struct QueryPicture {
    pub content_hash: String,
    /// `None` for a row of an earlier version.
    pub sketch: Option<Sketch>,
}

impl QueryPicture {
    pub(crate) fn from_row(image: &IndexedImage) -> Self {
        Self {
            content_hash: image.content_hash.clone(),
            sketch: Sketch::from_text(&image.sketch),
        }
    }
}

/// Hits with their bands: first the same picture, then turned copies, then near-duplicates, then all others. Each
/// part is sorted by falling score.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct BandedHits {
    pub hits: Vec<IndexHit>,
    pub bands: Vec<Band>,
}

impl BandedHits {
    /// Finds the bands of the hits of a query by this picture, and keeps the first `limit`. The hits are sorted by
    /// falling score.
    pub(crate) fn compare(
        bands: &Bands,
        query: &QueryPicture,
        hits: Vec<IndexHit>,
        limit: usize,
    ) -> Self {
        let mut comparison = HitComparison {
            bands,
            query,
            alterations: None,
            checks: MAX_ALTERATION_CHECKS,
        };
        let banded = hits.into_iter().map(|hit| (comparison.band_hit(&hit), hit));
        let mut banded: Vec<(Band, IndexHit)> = banded.collect();
        // The sort is stable.
        banded.sort_by_key(|(band, _)| (*band).min(Band::VerySimilar));
        let (bands, hits) = banded.into_iter().take(limit).unzip();
        Self { hits, bands }
    }
}

/// Compares the hits of one query.
struct HitComparison<'a> {
    bands: &'a Bands,
    query: &'a QueryPicture,
    /// Made for the first hit that needs it.
    alterations: Option<AlterationSearch>,
    /// Searches for altered copies that remain.
    checks: usize,
}

impl HitComparison<'_> {
    fn band_hit(&mut self, hit: &IndexHit) -> Band {
        let query = self.query;
        if !query.content_hash.is_empty() && query.content_hash == hit.image.content_hash {
            return Band::Same;
        }
        let band = self.bands.band_for(hit.score);
        let (Some(sketch), Some(other)) = (&query.sketch, Sketch::from_text(&hit.image.sketch))
        else {
            return band;
        };
        if sketch.is_same_picture(&other) {
            // Copies of half the size of small photos have scores below those of near-duplicates.
            return match band {
                Band::NearDuplicate | Band::VerySimilar => Band::Same,
                band => band,
            };
        }
        if sketch.is_turned_copy(&other) {
            return Band::TurnedCopy;
        }
        match band {
            // Beyond the limit, nothing confirms the claim.
            Band::Same | Band::NearDuplicate if self.checks == 0 => Band::VerySimilar,
            Band::Same | Band::NearDuplicate => {
                if self.count_check(sketch).is_altered_copy(&other) {
                    Band::NearDuplicate
                } else {
                    Band::VerySimilar
                }
            }
            Band::VerySimilar if self.checks > 0 => {
                if self.count_check(sketch).is_clear_copy(&other) {
                    Band::NearDuplicate
                } else {
                    Band::VerySimilar
                }
            }
            band => band,
        }
    }

    /// Returns the search for altered copies of the query, and counts its use.
    fn count_check(&mut self, sketch: &Sketch) -> &AlterationSearch {
        self.checks -= 1;
        self.alterations
            .get_or_insert_with(|| AlterationSearch::new(sketch.clone()))
    }
}

#[cfg(test)]
mod tests {
    use lookalike_vision::DecodedImage;

    use super::*;

    const BANDS: Bands = Bands {
        same: 0.9,
        near_duplicate: 0.8,
        very_similar: 0.6,
        similar: 0.4,
    };

    fn sketch_of(pixel: impl Fn(u32, u32) -> u8) -> Sketch {
        let (width, height) = (96, 64);
        let rows = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let rgb = rows.flat_map(|(x, y)| [pixel(x, y); 3]).collect();
        Sketch::from_image(&DecodedImage { width, height, rgb }, width, height)
    }

    fn hit(score: f32, content: &str, sketch: Option<&Sketch>) -> IndexHit {
        IndexHit {
            image: IndexedImage {
                content_hash: content.to_owned(),
                sketch: sketch.map(Sketch::to_text).unwrap_or_default(),
                ..IndexedImage::default()
            },
            score,
        }
    }

    /// A picture without symmetry.
    fn slope(x: u32, y: u32) -> u8 {
        ((x * x / 60 + y) % 200 + if y < 20 { 40 } else { 0 }) as u8
    }

    #[test]
    fn sketches_confirm_bands_and_find_turned_copies() {
        let query = QueryPicture {
            content_hash: "aa".to_owned(),
            sketch: Some(sketch_of(slope)),
        };
        let same = sketch_of(slope);
        let brighter = sketch_of(|x, y| slope(x, y).saturating_add(12));
        let mirrored = sketch_of(|x, y| slope(95 - x, y));
        let other = sketch_of(|x, y| ((x ^ y) % 2 * 3 + y * 3) as u8);
        for (score, content, sketch, band) in [
            (0.95, "bb", Some(&same), Band::Same),
            (0.85, "bb", Some(&same), Band::Same),
            (0.65, "bb", Some(&same), Band::Same),
            (0.95, "bb", Some(&brighter), Band::NearDuplicate),
            (0.95, "bb", Some(&other), Band::VerySimilar),
            (0.85, "bb", Some(&other), Band::VerySimilar),
            (0.5, "bb", Some(&other), Band::Similar),
            (0.95, "bb", Some(&mirrored), Band::TurnedCopy),
            (0.1, "bb", Some(&mirrored), Band::TurnedCopy),
            // Rows of earlier versions.
            (0.95, "bb", None, Band::Same),
            (0.1, "bb", None, Band::NoMatch),
            // The same bytes.
            (0.1, "aa", Some(&other), Band::Same),
        ] {
            let hits = vec![hit(score, content, sketch)];
            let found = BandedHits::compare(&BANDS, &query, hits, usize::MAX);
            assert_eq!(found.bands, [band], "{score} {content}");
        }
        let without = QueryPicture {
            sketch: None,
            ..query
        };
        let hits = vec![hit(0.95, "bb", Some(&other)), hit(0.7, "", Some(&mirrored))];
        assert_eq!(
            BandedHits::compare(&BANDS, &without, hits, usize::MAX).bands,
            [Band::Same, Band::VerySimilar]
        );
    }

    #[test]
    fn copies_come_before_similar_pictures() {
        let query = QueryPicture {
            content_hash: "aa".to_owned(),
            sketch: Some(sketch_of(slope)),
        };
        let (same, other) = (sketch_of(slope), sketch_of(|_, y| (y * 3) as u8));
        let darker = sketch_of(|x, y| slope(x, y) / 2);
        let mirrored = sketch_of(|x, y| slope(95 - x, y));
        let hits = vec![
            hit(0.93, "bb", Some(&other)),
            hit(0.92, "cc", Some(&same)),
            hit(0.85, "dd", Some(&other)),
            hit(0.84, "ee", Some(&same)),
            hit(0.83, "aa", None),
            hit(0.7, "gg", Some(&darker)),
            hit(0.5, "ff", Some(&same)),
            hit(0.3, "hh", Some(&mirrored)),
        ];
        let first = BandedHits::compare(&BANDS, &query, hits.clone(), 1);
        assert_eq!(first.hits, hits[1..2]);
        let found = BandedHits::compare(&BANDS, &query, hits, usize::MAX);
        let order: Vec<&str> = found
            .hits
            .iter()
            .map(|hit| hit.image.content_hash.as_str())
            .collect();
        assert_eq!(order, ["cc", "ee", "aa", "hh", "bb", "dd", "gg", "ff"]);
        assert_eq!(found.bands[..3], [Band::Same; 3]);
        assert_eq!(found.bands[3], Band::TurnedCopy);
        assert_eq!(found.bands[4..7], [Band::VerySimilar; 3]);
        assert_eq!(found.bands[7], Band::Similar);
    }

    #[test]
    fn the_checks_of_an_answer_are_limited() {
        let query = QueryPicture {
            content_hash: String::new(),
            sketch: Some(sketch_of(slope)),
        };
        let brighter = sketch_of(|x, y| slope(x, y).saturating_add(12));
        let hits = vec![hit(0.95, "", Some(&brighter)); MAX_ALTERATION_CHECKS + 2];
        let bands = BandedHits::compare(&BANDS, &query, hits, usize::MAX).bands;
        let (checked, unchecked) = bands.split_at(MAX_ALTERATION_CHECKS);
        assert!(checked.iter().all(|band| *band == Band::NearDuplicate));
        assert_eq!(unchecked, [Band::VerySimilar; 2]);
    }
}

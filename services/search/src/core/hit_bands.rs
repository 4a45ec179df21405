//! Bands of hits: the meaning of a score, confirmed by comparing the pictures.
//!
//! Vectors of pictures with little in them (pages of text, night skies, solid colours) are nearly equal
//! although the pictures differ. "Same picture" and "near-duplicate" therefore require that the sketches
//! of both pictures agree. The sketches also recognise turned and mirrored copies, whose vectors may be
//! far apart. A row that an earlier version wrote has no sketch: its score alone decides.

use lookalike_index::{IndexHit, IndexedImage};
use lookalike_vision::{Band, Bands, Sketch};

/// Searches for altered copies per answer; each takes about 0.1 ms.
const MAX_ALTERATION_CHECKS: usize = 200;

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

/// Returns the band of each hit of a query by this picture.
pub(crate) fn band_hits(bands: &Bands, query: &QueryPicture, hits: &[IndexHit]) -> Vec<Band> {
    let mut checks = MAX_ALTERATION_CHECKS;
    hits.iter()
        .map(|hit| band_hit(bands, query, hit, &mut checks))
        .collect()
}

fn band_hit(bands: &Bands, query: &QueryPicture, hit: &IndexHit, checks: &mut usize) -> Band {
    if !query.content_hash.is_empty() && query.content_hash == hit.image.content_hash {
        return Band::Same;
    }
    let band = bands.band_for(hit.score);
    let (Some(sketch), Some(other)) = (&query.sketch, Sketch::from_text(&hit.image.sketch)) else {
        return band;
    };
    if sketch.is_same_picture(&other) {
        return band;
    }
    if sketch.is_turned_copy(&other) {
        return Band::TurnedCopy;
    }
    match band {
        Band::Same | Band::NearDuplicate => {
            // Beyond the limit, only the first claim is withdrawn.
            if *checks == 0 {
                return Band::NearDuplicate;
            }
            *checks -= 1;
            if sketch.is_altered_copy(&other) {
                Band::NearDuplicate
            } else {
                Band::VerySimilar
            }
        }
        band => band,
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
        Sketch::from_image(&DecodedImage { width, height, rgb })
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
            (0.85, "bb", Some(&same), Band::NearDuplicate),
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
            let found = band_hits(&BANDS, &query, &[hit(score, content, sketch)]);
            assert_eq!(found, [band], "{score} {content}");
        }
        let without = QueryPicture {
            sketch: None,
            ..query
        };
        let hits = [hit(0.95, "bb", Some(&other)), hit(0.7, "", Some(&mirrored))];
        assert_eq!(
            band_hits(&BANDS, &without, &hits),
            [Band::Same, Band::VerySimilar]
        );
    }

    #[test]
    fn the_checks_of_an_answer_are_limited() {
        let query = QueryPicture {
            content_hash: String::new(),
            sketch: Some(sketch_of(slope)),
        };
        let other = sketch_of(|_, y| (y * 3) as u8);
        let hits = vec![hit(0.95, "", Some(&other)); MAX_ALTERATION_CHECKS + 2];
        let bands = band_hits(&BANDS, &query, &hits);
        let (checked, unchecked) = bands.split_at(MAX_ALTERATION_CHECKS);
        assert!(checked.iter().all(|band| *band == Band::VerySimilar));
        assert_eq!(unchecked, [Band::NearDuplicate; 2]);
    }
}

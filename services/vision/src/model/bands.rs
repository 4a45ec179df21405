//! Bands: the meaning of a score. Each model has its own scale of cosines, so a model's description
//! may contain the least cosine of each band, measured on images that no evaluation uses.
//!
//! Bands apply to the vectors of two images. The cosine of a text and an image has another scale, and
//! so has that of a vector mixed from several.

use serde::{Deserialize, Serialize};

/// The least cosine of each band, in falling order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bands {
    pub same: f32,
    pub near_duplicate: f32,
    pub very_similar: f32,
    pub similar: f32,
}

/// The meaning of a score, best first. The best band is the least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Band {
    /// The same picture, possibly saved again.
    #[serde(rename = "same_picture")]
    Same,
    /// The same picture, turned or mirrored. Only [sketches](crate::Sketch) tell; no score has this band.
    TurnedCopy,
    /// The same picture after changes: cropped, recoloured, overlaid.
    NearDuplicate,
    VerySimilar,
    Similar,
    /// No good match: unrelated pictures reach such scores, too.
    NoMatch,
}

impl Bands {
    /// Returns the band of the cosine of two images' vectors. NaN is no match.
    pub fn band_for(&self, score: f32) -> Band {
        let bands = [
            (self.same, Band::Same),
            (self.near_duplicate, Band::NearDuplicate),
            (self.very_similar, Band::VerySimilar),
            (self.similar, Band::Similar),
        ];
        let reached = bands.into_iter().find(|(least, _)| score >= *least);
        reached.map_or(Band::NoMatch, |(_, band)| band)
    }

    /// Checks that the numbers are cosines in falling order.
    pub(crate) fn check_order(&self) -> Result<(), String> {
        let falling = [
            self.same,
            self.near_duplicate,
            self.very_similar,
            self.similar,
        ];
        let is_cosine = |least: &f32| (-1.0..=1.0).contains(least);
        if !falling.iter().all(is_cosine) || falling.windows(2).any(|pair| pair[0] <= pair[1]) {
            return Err(format!(
                "the bands {falling:?} must be cosines (-1 to 1), each below the one before"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BANDS: &str =
        r#"{"same": 0.98, "near_duplicate": 0.9, "very_similar": 0.8, "similar": 0.7}"#;

    #[test]
    fn each_score_has_its_band() {
        let bands: Bands = serde_json::from_str(BANDS).unwrap();
        for (score, name) in [
            (1.0, "same_picture"),
            (0.98, "same_picture"),
            (0.979, "near_duplicate"),
            (0.9, "near_duplicate"),
            (0.85, "very_similar"),
            (0.7, "similar"),
            (0.699, "no_match"),
            (-1.0, "no_match"),
            (f32::NAN, "no_match"),
        ] {
            let band = serde_json::to_value(bands.band_for(score)).unwrap();
            assert_eq!(band, name, "{score}");
        }
    }
}

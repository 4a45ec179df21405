//! What a score means: cosines are on a scale of each model's own, so a model's description may
//! carry the least cosine of each band, measured on pictures that nothing else is judged by.
//!
//! Bands speak of two pictures. The cosine of a text and a picture is on another scale, and so is
//! that of a vector that several were mixed into.

use serde::{Deserialize, Serialize};

/// The least cosine of each band, falling.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bands {
    /// From here on it is the same picture, perhaps stored anew.
    pub same: f32,
    /// From here on it is the same picture, altered.
    pub near_duplicate: f32,
    /// From here on it is very similar.
    pub very_similar: f32,
    /// From here on it is similar; below, nothing is claimed.
    pub similar: f32,
}

/// What a score means, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Band {
    /// The same picture, perhaps stored anew.
    #[serde(rename = "same_picture")]
    Same,
    /// The same picture, altered: cropped, recoloured, overlaid.
    NearDuplicate,
    /// Very similar.
    VerySimilar,
    /// Similar.
    Similar,
    /// No good match: as near as pictures come that have nothing in common.
    NoMatch,
}

impl Bands {
    /// The band of a cosine of two pictures' vectors. What is no number matches nothing.
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

    /// Whether the numbers can be what they are said to be.
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
    use crate::Description;

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

    #[test]
    fn a_description_may_have_bands_and_wrong_ones_are_refused() {
        let json = include_str!("../../models/resnet34/resnet34.json");
        let without: serde_json::Value = serde_json::from_str(json).unwrap();
        let parse = |bands: &str| {
            let mut description = without.clone();
            description["bands"] = serde_json::from_str(bands).unwrap();
            Description::from_json(&description.to_string(), "x.json").map_err(|e| e.to_string())
        };
        let with = parse(BANDS).unwrap();
        assert_eq!(with.bands.unwrap().similar, 0.7);
        assert_eq!(parse("null").unwrap().bands, None);
        // The same vectors, whatever is said about them.
        let without = Description::from_json(json, "x.json").unwrap();
        assert_eq!(with.fingerprint(), without.fingerprint());
        for wrong in [
            BANDS.replace("0.9,", "0.99,"),
            BANDS.replace("0.98", "1.5"),
            BANDS.replace("0.7}", "0.8}"),
        ] {
            assert!(parse(&wrong).unwrap_err().contains("below the one before"));
        }
        assert!(parse(&BANDS.replace("same", "sane")).is_err());
        assert!(parse(r#"{"same": 0.9}"#).is_err());
    }
}

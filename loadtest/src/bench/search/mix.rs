//! The kinds of searches and how often each is sent.

use std::str::FromStr;

use lookalike_painter::paint::Random;

/// A kind of search request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SearchKind {
    /// The bytes of a picture.
    Upload,
    /// The id of an indexed picture.
    Id,
    /// Words; needs a model with a text encoder.
    Text,
}

impl SearchKind {
    pub const ALL: [Self; 3] = [Self::Upload, Self::Id, Self::Text];

    pub fn name(self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::Id => "id",
            Self::Text => "text",
        }
    }
}

/// Weights of the kinds, in the order of [`SearchKind::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SearchMix {
    weights: [u32; 3],
}

impl SearchMix {
    pub const UPLOADS: Self = Self { weights: [1, 0, 0] };

    pub fn contains(self, kind: SearchKind) -> bool {
        self.weights[kind as usize] > 0
    }

    /// Draws a kind with the probability of its weight.
    pub fn draw_kind(self, random: &mut Random) -> SearchKind {
        let total: u32 = self.weights.iter().sum();
        let mut drawn = random.int_between(1, total.max(1));
        for (kind, weight) in SearchKind::ALL.into_iter().zip(self.weights) {
            if drawn <= weight {
                return kind;
            }
            drawn -= weight;
        }
        SearchKind::Upload
    }
}

impl FromStr for SearchMix {
    type Err = String;

    /// Parses `upload=60,id=30,text=10`. Kinds that are not named have the weight 0.
    fn from_str(text: &str) -> Result<Self, String> {
        const EXAMPLE: &str = "write it as upload=60,id=30,text=10";
        let mut weights = [0; 3];
        let mut is_named = [false; 3];
        for part in text.split(',') {
            let (name, weight) = part
                .trim()
                .split_once('=')
                .ok_or_else(|| format!("{part:?} has no weight; {EXAMPLE}"))?;
            let kind = SearchKind::ALL
                .into_iter()
                .find(|kind| kind.name() == name.trim())
                .ok_or_else(|| format!("{name:?} is not a kind of search; {EXAMPLE}"))?;
            if std::mem::replace(&mut is_named[kind as usize], true) {
                return Err(format!("{name} is named twice"));
            }
            weights[kind as usize] = weight
                .trim()
                .parse()
                .ok()
                .filter(|weight| *weight <= 1_000_000)
                .ok_or_else(|| {
                    format!("the weight {weight:?} is not a number from 0 to 1000000")
                })?;
        }
        if weights == [0; 3] {
            return Err("all weights are 0".to_owned());
        }
        Ok(Self { weights })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_drawn_by_their_weights() {
        let mix: SearchMix = "upload=60, id=30,text=10".parse().unwrap();
        let mut random = Random::new(1, 1);
        let mut counts = [0; 3];
        for _ in 0..10_000 {
            counts[mix.draw_kind(&mut random) as usize] += 1;
        }
        assert!((5800..6200).contains(&counts[0]), "{counts:?}");
        assert!((2800..3200).contains(&counts[1]), "{counts:?}");
        let only_ids: SearchMix = "id=1".parse().unwrap();
        assert!(!only_ids.contains(SearchKind::Upload));
        assert_eq!(only_ids.draw_kind(&mut random), SearchKind::Id);
    }

    #[test]
    fn wrong_mixes_say_what_to_write() {
        for (text, word) in [
            ("upload", "has no weight"),
            ("photo=3", "not a kind"),
            ("id=-1", "not a number"),
            ("id=1,id=2", "twice"),
            ("upload=0", "all weights"),
            ("", "upload=60,id=30,text=10"),
        ] {
            let error = text.parse::<SearchMix>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}

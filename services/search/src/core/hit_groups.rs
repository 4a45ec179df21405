//! Groups of hits that show the same picture: each group counts as one hit.
//!
//! Hits are added in the order of the answer. Each one joins the first group whose first hit is a copy of
//! it, or starts a group. So hits that are added later change no earlier decision, and every page of a search
//! finds the same groups.

use std::collections::HashMap;

use lookalike_vision::{Band, Bands};

use super::hit_bands::{PictureComparison, QueryPicture};

/// Which hits are folded into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HitGrouping {
    /// Identical files.
    Content,
    /// Identical files, the same picture in other files, turned copies and near-duplicates.
    Near,
}

/// Searches for altered copies among the hits of one answer; each takes up to 0.05 ms.
const MAX_GROUP_CHECKS: usize = 4000;

/// Without calibrated bands, only sketches compare pictures: the same picture and turned copies.
const UNKNOWN_BANDS: Bands = Bands {
    same: 2.0,
    near_duplicate: 2.0,
    very_similar: -2.0,
    similar: -2.0,
};

/// The numbers of hits, in the order in which they were added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HitGroup {
    pub first: usize,
    /// All others.
    pub folded: Vec<usize>,
}

/// What is known of the first hit of a group.
struct FirstHit {
    picture: QueryPicture,
    vector: Vec<f32>,
}

/// The groups of the hits that were added.
pub(crate) struct HitGroups {
    grouping: Option<HitGrouping>,
    bands: Bands,
    groups: Vec<HitGroup>,
    /// One for each group, if near-duplicates are folded.
    first_hits: Vec<FirstHit>,
    by_content: HashMap<String, usize>,
    added: usize,
    /// Searches for altered copies that remain.
    checks: usize,
}

impl HitGroups {
    /// Creates no groups. Without `grouping`, each hit is a group.
    pub(crate) fn new(grouping: Option<HitGrouping>, bands: Option<Bands>) -> Self {
        Self {
            grouping,
            bands: bands.unwrap_or(UNKNOWN_BANDS),
            groups: Vec::new(),
            first_hits: Vec::new(),
            by_content: HashMap::new(),
            added: 0,
            checks: if bands.is_some() { MAX_GROUP_CHECKS } else { 0 },
        }
    }

    pub(crate) fn groups(&self) -> &[HitGroup] {
        &self.groups
    }

    /// Adds a hit. Its vector is needed only to fold near-duplicates.
    pub(crate) fn add(&mut self, picture: impl FnOnce() -> QueryPicture, vector: Vec<f32>) {
        let number = self.added;
        self.added += 1;
        let Some(grouping) = self.grouping else {
            return self.start_group(number);
        };
        let picture = picture();
        let by_content = self.by_content.get(&picture.content_hash).copied();
        let group = match grouping {
            HitGrouping::Content => by_content,
            HitGrouping::Near => by_content.or_else(|| self.find_copy(&picture, &vector)),
        };
        let content = picture.content_hash.clone();
        match group {
            Some(group) => self.groups[group].folded.push(number),
            None => {
                self.start_group(number);
                if grouping == HitGrouping::Near {
                    self.first_hits.push(FirstHit { picture, vector });
                }
            }
        }
        if !content.is_empty() {
            let last = self.groups.len() - 1;
            self.by_content
                .entry(content)
                .or_insert(group.unwrap_or(last));
        }
    }

    fn start_group(&mut self, number: usize) {
        self.groups.push(HitGroup {
            first: number,
            folded: Vec::new(),
        });
    }

    /// Returns the first group whose first hit is a copy of this picture.
    fn find_copy(&mut self, picture: &QueryPicture, vector: &[f32]) -> Option<usize> {
        let mut comparison = PictureComparison::new(self.bands, picture, self.checks);
        let group = self.first_hits.iter().position(|first| {
            let score = find_cosine(&first.vector, vector);
            comparison.find_band(&first.picture, score) <= Band::NearDuplicate
        });
        self.checks = comparison.remaining_checks();
        group
    }
}

/// Returns the cosine of two unit vectors; −1 if one of them is unknown.
fn find_cosine(vector: &[f32], other: &[f32]) -> f32 {
    if vector.is_empty() || vector.len() != other.len() {
        return -1.0;
    }
    // Several sums at once, because every addition waits for the one before.
    let ((values, rest), (others, other_rest)) = (vector.as_chunks::<8>(), other.as_chunks::<8>());
    let mut sums = [0.0_f32; 8];
    for (values, others) in values.iter().zip(others) {
        for (sum, (a, b)) in sums.iter_mut().zip(values.iter().zip(others)) {
            *sum += a * b;
        }
    }
    let products = rest.iter().zip(other_rest).map(|(a, b)| a * b);
    sums.into_iter().chain(products).sum()
}

#[cfg(test)]
mod tests {
    use lookalike_vision::{DecodedImage, PictureTurn, Sketch};

    use super::*;

    const BANDS: Bands = Bands {
        same: 0.95,
        near_duplicate: 0.9,
        very_similar: 0.7,
        similar: 0.5,
    };

    fn picture_of(image: &DecodedImage, content: &str) -> QueryPicture {
        QueryPicture {
            content_hash: content.to_owned(),
            sketch: Some(Sketch::from_image(image, image.width, image.height)),
        }
    }

    fn draw(pixel: impl Fn(u32, u32) -> u8) -> DecodedImage {
        let pixels = (0..96_u32 * 64).flat_map(|at| [pixel(at % 96, at / 96); 3]);
        DecodedImage {
            width: 96,
            height: 64,
            rgb: pixels.collect(),
        }
    }

    fn slope(x: u32, y: u32) -> u8 {
        ((x * x / 60 + y) % 200 + if y < 20 { 40 } else { 0 }) as u8
    }

    /// Returns a unit vector at this angle, in degrees.
    fn vector_at(angle: f32) -> Vec<f32> {
        let (sine, cosine) = angle.to_radians().sin_cos();
        vec![cosine, sine]
    }

    fn group(
        grouping: Option<HitGrouping>,
        bands: Option<Bands>,
        hits: &[(QueryPicture, f32)],
    ) -> Vec<Vec<usize>> {
        let mut groups = HitGroups::new(grouping, bands);
        for (number, (picture, angle)) in hits.iter().enumerate() {
            let before = groups.groups().to_vec();
            groups.add(|| picture.clone(), vector_at(*angle));
            assert!(groups.groups().len() >= before.len(), "{number}");
        }
        let numbers = groups.groups().iter().map(|group| {
            let mut numbers = vec![group.first];
            numbers.extend(&group.folded);
            numbers
        });
        numbers.collect()
    }

    #[test]
    fn copies_join_the_first_hit_that_they_copy() {
        let original = draw(slope);
        let other = draw(|x, y| ((x ^ y) % 2 * 3 + y * 3) as u8);
        let turned = original.turned(PictureTurn::ALL[5]);
        let brighter = draw(|x, y| slope(x, y).saturating_add(12));
        let hits = [
            (picture_of(&original, "a"), 0.0),
            (picture_of(&other, "b"), 5.0),
            // The same file has the same content, whatever its vector is.
            (picture_of(&other, "a"), 80.0),
            (picture_of(&original, "c"), 10.0),
            (picture_of(&turned, "d"), 85.0),
            (picture_of(&brighter, "e"), 12.0),
            // The vectors are too far apart.
            (picture_of(&brighter, "f"), 89.0),
            // It joins the group of its content, which joined the first one.
            (picture_of(&other, "c"), 50.0),
            (picture_of(&other, ""), 0.0),
            (picture_of(&other, ""), 60.0),
        ];
        let near = group(Some(HitGrouping::Near), Some(BANDS), &hits);
        let expected = [vec![0, 2, 3, 4, 5, 7], vec![1, 8], vec![6], vec![9]];
        assert_eq!(near, expected);
        let content = group(Some(HitGrouping::Content), Some(BANDS), &hits);
        assert_eq!(content[0], [0, 2]);
        assert_eq!(content[2], [3, 7]);
        assert_eq!(
            content.len(),
            8,
            "unknown content is not equal: {content:?}"
        );
        assert_eq!(group(None, None, &hits).len(), hits.len());
        // Without bands, only sketches decide.
        let sketched = group(Some(HitGrouping::Near), None, &hits);
        assert_eq!(sketched[0], [0, 2, 3, 4, 7]);
        assert_eq!(sketched[1], [1, 8, 9]);
    }

    #[test]
    fn cosines_are_sums_of_products() {
        let values: Vec<f32> = (0..19).map(|n| n as f32).collect();
        let sum: f32 = values.iter().map(|value| value * value).sum();
        assert_eq!(find_cosine(&values, &values), sum);
        assert_eq!(find_cosine(&values, &values[1..]), -1.0);
        assert_eq!(find_cosine(&[], &[]), -1.0);
    }
}

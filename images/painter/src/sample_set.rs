//! The sample pictures that come with lookalike, in `images/` at the root of the checkout.
//!
//! `lookalike-loadtest generate --sample-set --out images` reproduces them byte for byte; a test
//! compares them.

use crate::picture::PictureSpec;
use crate::scenes;

/// One picture of the set.
#[derive(Debug, Clone)]
pub struct SamplePicture {
    /// Path of its file below the set's folder, separated by `/`.
    pub path: String,
    pub picture: PictureSpec,
}

/// The families of the set and the seeds of their pictures, chosen by eye.
const SEEDS: [(&str, [u64; 5]); 12] = [
    ("fruit", [2, 3, 6, 10, 1]),
    ("flower-vase", [2, 3, 6, 9, 1]),
    ("cup", [2, 3, 6, 9, 10]),
    ("sunset-sea", [3, 8, 5, 4, 10]),
    ("hills", [8, 6, 3, 9, 5]),
    ("mountain-lake", [1, 6, 8, 9, 10]),
    ("tiles", [1, 2, 3, 4, 7]),
    ("paper-waves", [1, 3, 5, 4, 6]),
    ("blossoms", [3, 2, 7, 4, 8]),
    ("balloons", [1, 5, 2, 9, 6]),
    ("cat", [1, 7, 8, 9, 5]),
    ("fish", [3, 2, 7, 9, 8]),
];

/// Width and height of a family's pictures, in order.
const SIZES: [(u32, u32); 5] = [(800, 600), (720, 540), (640, 480), (600, 750), (768, 512)];

pub fn sample_pictures() -> Vec<SamplePicture> {
    let mut samples = Vec::new();
    for (name, seeds) in SEEDS {
        let family = scenes::find_family(name).expect("the set only names families that exist");
        for (i, (seed, (width, height))) in seeds.into_iter().zip(SIZES).enumerate() {
            samples.push(SamplePicture {
                path: format!("{}/{}-{}.jpg", family.group, family.name, i + 1),
                picture: PictureSpec {
                    family,
                    seed,
                    width,
                    height,
                    grain: 3.0,
                    quality: 82,
                    progressive: false,
                },
            });
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_unique() {
        let mut paths: Vec<String> = sample_pictures()
            .into_iter()
            .map(|sample| sample.path)
            .collect();
        let count = paths.len();
        assert_eq!(count, 60);
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), count);
    }
}

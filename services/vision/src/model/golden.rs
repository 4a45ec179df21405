//! The golden picture: a picture drawn by a formula and embedded at every start, so that a driver, a
//! device or a code change that alters vectors is detected before it reaches an index.
//!
//! The expected vector is stored in two places: next to the weights of a model (`golden.json`,
//! written by the example `golden`), and in every index, where the first embedder stores it.

use serde::{Deserialize, Serialize};

use crate::preprocess::Input;

/// The least cosine between two vectors of the golden picture by the same model on any devices.
///
/// Vectors of devices that reach it may be mixed in one index. Executors in single precision agree
/// within 1e-6, those with 16-bit integers within 1e-5. In bfloat16, vectors of lookalike-mini have a
/// cosine of at least 0.99996 to those in single precision over 60 photos, and no score changes by
/// more than 0.003. Those of EfficientNet-Lite0 have at least 0.9994, of Lite2 0.9996. A wrong kernel
/// or another preprocessing does not reach the limit.
pub const MIN_GOLDEN_COSINE: f64 = 0.999;

/// Version of the formula. Vectors of different versions are not comparable.
const PICTURE_VERSION: u32 = 1;

/// Name of the file next to a model's weights.
pub(crate) const GOLDEN_FILE: &str = "golden.json";

/// Contents of `golden.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GoldenFile {
    /// Version of the formula that drew the picture.
    picture: u32,
    /// SHA-256 of the weights that computed the vector.
    sha256: String,
    vector: Vec<f32>,
}

impl GoldenFile {
    /// Creates the file for the weights with this checksum.
    pub fn new(sha256: &str, vector: &[f32]) -> Self {
        Self {
            picture: PICTURE_VERSION,
            sha256: sha256.to_owned(),
            vector: vector.to_vec(),
        }
    }

    /// Reads the vector from the file's JSON. Returns `None` if the file belongs to other weights or
    /// to another formula.
    pub(crate) fn vector_for(
        json: &str,
        sha256: &str,
        dimension: usize,
    ) -> Result<Option<Vec<f32>>, String> {
        let golden: Self = serde_json::from_str(json).map_err(|error| error.to_string())?;
        if golden.picture != PICTURE_VERSION || golden.sha256 != sha256 {
            return Ok(None);
        }
        if golden.vector.len() != dimension {
            return Err(format!(
                "its vector has {} numbers, not {dimension}",
                golden.vector.len()
            ));
        }
        Ok(Some(golden.vector))
    }
}

/// Draws the golden picture at a model's input size: gradients, tiles, rings and fine stripes in
/// colour. The formula uses only integers, so the pixels are the same on every machine.
pub(crate) fn draw_golden_picture(side: u32) -> Input {
    let mut pixels = Vec::with_capacity((side * side * 3) as usize);
    let last = side.max(2) - 1;
    for y in 0..side {
        for x in 0..side {
            let (across, down) = (x * 255 / last, y * 255 / last);
            let mut pixel = [across, down, (across * down) / 255];
            if (x * 8 / side + y * 8 / side) % 2 == 1 {
                pixel = [255 - pixel[2], pixel[0], pixel[1]];
            }
            let (dx, dy) = (x.abs_diff(side / 2), y.abs_diff(side / 3));
            let ring = (dx * dx + dy * dy) * 12 / (side * side).max(1);
            if ring == 1 {
                pixel = [230, 40 + across / 4, 60];
            }
            if down > 200 && x % 3 == 0 {
                pixel = [20, 30, 40 + down / 2];
            }
            pixels.extend(pixel.map(|value| value.min(255) as u8));
        }
    }
    pixels.into_boxed_slice()
}

/// Returns the cosine of two vectors, or 0 if one of them has the length 0.
pub(crate) fn cosine_similarity(left: &[f32], right: &[f32]) -> f64 {
    let (mut dot, mut first, mut second) = (0.0, 0.0, 0.0);
    for (a, b) in left.iter().zip(right) {
        let (a, b) = (f64::from(*a), f64::from(*b));
        dot += a * b;
        first += a * a;
        second += b * b;
    }
    let length = (first * second).sqrt();
    if length > 0.0 { dot / length } else { 0.0 }
}

/// Compares the golden vector of a device with the expected one and returns their cosine as the
/// error if they differ too much.
pub(crate) fn check_golden_vector(expected: &[f32], actual: &[f32]) -> Result<(), f64> {
    let cosine = cosine_similarity(expected, actual);
    // NaN fails this comparison, too.
    if cosine >= MIN_GOLDEN_COSINE {
        return Ok(());
    }
    Err(cosine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn the_picture_never_changes() {
        use sha2::{Digest as _, Sha256};
        let hash: String = Sha256::digest(draw_golden_picture(128))
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            hash, "8dd6ca7adeb724fbaba41e404c44c9f2e3a8ca676eba2b9d5ec2b68f61b19f44",
            "PICTURE_VERSION must grow with every change of the formula"
        );
        for side in [16, 224, 518, 1024] {
            let picture = draw_golden_picture(side);
            assert_eq!(picture.len(), (side * side * 3) as usize);
            let distinct: std::collections::BTreeSet<_> = picture.iter().collect();
            assert!(
                distinct.len() > 20,
                "{side}: a dull picture would detect nothing"
            );
        }
    }

    #[test]
    fn a_file_counts_for_its_own_weights_only() {
        let json = serde_json::to_string(&GoldenFile::new("ab", &[0.6, 0.8])).unwrap();
        assert_eq!(
            GoldenFile::vector_for(&json, "ab", 2),
            Ok(Some(vec![0.6, 0.8]))
        );
        assert_eq!(GoldenFile::vector_for(&json, "cd", 2), Ok(None));
        assert!(GoldenFile::vector_for(&json, "ab", 3).is_err());
        let other_formula = json.replace("\"picture\":1", "\"picture\":0");
        assert_eq!(GoldenFile::vector_for(&other_formula, "ab", 2), Ok(None));
        assert!(GoldenFile::vector_for("{", "ab", 2).is_err());
    }

    #[test]
    fn a_different_vector_is_rejected() {
        let good = [0.6_f32, 0.8];
        check_golden_vector(&good, &[0.6001, 0.7999]).unwrap();
        let cosine = check_golden_vector(&good, &[0.7, 0.714]).unwrap_err();
        let error = Error::Golden {
            model: "m".to_owned(),
            device: "vulkan: X".to_owned(),
            input: "the golden picture",
            cosine,
            min_cosine: MIN_GOLDEN_COSINE,
        };
        let text = error.to_string();
        assert!(
            text.contains("vulkan: X") && text.contains("--device cpu"),
            "{text}"
        );
        assert!(check_golden_vector(&good, &[f32::NAN, 0.0]).is_err());
        assert!(check_golden_vector(&good, &[0.0, 0.0]).is_err());
    }
}

//! A query: images, ids and texts with weights, and the sum of their vectors.

use bytes::Bytes;
use lookalike_index::{ReadConsistency, RowFilter};
use lookalike_proto::QueryText;
use lookalike_vision::PictureRegion;

use super::hit_groups::HitGrouping;
use crate::problem::{Code, Problem};

/// Something that has a vector.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum QueryInput {
    /// The bytes of an uploaded file.
    Image(Bytes),
    /// The id of an image in the index.
    Id(String),
    Text(QueryText),
}

/// One part of a query.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WeightedPart {
    /// The parameter that contains the part.
    pub param: String,
    pub input: QueryInput,
    /// If negative, the hits should look less like this part.
    pub weight: f64,
    /// The region of the picture that is compared, with the parameter that contains it; not for a text.
    pub region: Option<QueryRegion>,
}

/// A region of the picture of a query.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct QueryRegion {
    pub param: String,
    pub region: PictureRegion,
}

/// The conditions for hits.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SearchConditions {
    /// The maximum number of hits of a page; a group counts as one.
    pub limit: usize,
    pub filter: RowFilter,
    pub min_score: Option<f32>,
    /// The least score as a share of the best one, 0 to 1.
    pub relative_score: Option<f64>,
    pub group: Option<HitGrouping>,
    /// The cursor of the previous page.
    pub cursor: Option<String>,
    pub consistency: ReadConsistency,
}

/// A query with at least one part of positive weight.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ParsedQuery {
    pub parts: Vec<WeightedPart>,
    /// The image to exclude from the hits.
    pub excluded_id: Option<String>,
    /// Whether turned and mirrored copies of the picture are searched as well.
    pub orientations: bool,
}

impl ParsedQuery {
    fn from_input(param: &str, input: QueryInput) -> Self {
        let part = WeightedPart {
            param: param.to_owned(),
            input,
            weight: 1.0,
            region: None,
        };
        Self {
            parts: vec![part],
            excluded_id: None,
            orientations: false,
        }
    }

    pub(crate) fn from_image(bytes: Bytes) -> Self {
        Self::from_input("image", QueryInput::Image(bytes))
    }

    /// Searches by an image of the index, which is not a hit itself.
    pub(crate) fn similar_to(id: String) -> Self {
        Self {
            excluded_id: Some(id.clone()),
            ..Self::from_input("id", QueryInput::Id(id))
        }
    }

    /// Compares only a region of the picture.
    pub(crate) fn with_region(mut self, region: Option<QueryRegion>) -> Self {
        for part in &mut self.parts {
            part.region.clone_from(&region);
        }
        self
    }

    /// Searches turned and mirrored copies as well.
    ///
    /// # Errors
    /// If the query is not a single picture.
    pub(crate) fn with_orientations(mut self, orientations: bool) -> Result<Self, Problem> {
        if orientations && !self.is_single_image() {
            return Err(Problem::invalid_parameter(
                "orientations",
                "orientations needs a query by a single picture: give only image or only id",
            ));
        }
        self.orientations = orientations;
        Ok(self)
    }

    /// Returns the label `kind` of the search metrics.
    pub(crate) fn kind(&self) -> &'static str {
        match self.parts.as_slice() {
            [part] => match part.input {
                QueryInput::Image(_) => "image",
                QueryInput::Id(_) => "id",
                QueryInput::Text(_) => "text",
            },
            _ => "combined",
        }
    }

    /// Whether the scores compare two images: the bands of a model hold for those only.
    pub(crate) fn is_single_image(&self) -> bool {
        matches!(self.kind(), "image" | "id")
    }

    pub(crate) fn has_text(&self) -> bool {
        let is_text = |part: &WeightedPart| matches!(part.input, QueryInput::Text(_));
        self.parts.iter().any(is_text)
    }
}

/// The smallest length of the sum, as a share of the weights. A shorter sum is noise.
const MIN_REMAINDER: f64 = 1e-3;

/// Returns the weighted sum of unit vectors as a unit vector.
pub(crate) fn combine_vectors(parts: &[(Vec<f32>, f64)]) -> Result<Vec<f32>, Problem> {
    if let [(vector, _)] = parts {
        return Ok(vector.clone());
    }
    let dimension = parts.first().map_or(0, |(vector, _)| vector.len());
    // Only ratios of weights matter; the squares of tiny weights would be 0.
    let largest = parts
        .iter()
        .map(|(_, weight)| weight.abs())
        .fold(0.0, f64::max);
    let mut sum = vec![0.0_f64; dimension];
    for (vector, weight) in parts {
        let length = vector_norm(vector.iter().copied().map(f64::from));
        for (sum, value) in sum.iter_mut().zip(vector) {
            *sum += weight / largest * f64::from(*value) / length;
        }
    }
    let weights: f64 = parts.iter().map(|(_, weight)| weight.abs() / largest).sum();
    let rest = vector_norm(sum.iter().copied());
    if !rest.is_finite() || rest <= MIN_REMAINDER * weights {
        return Err(Problem::new(
            Code::CancelsOut,
            "the positive and negative parts of the query cancel each other out: remove one of \
             them, or add another positive part",
        ));
    }
    Ok(sum.iter().map(|value| (value / rest) as f32).collect())
}

fn vector_norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_summed_by_weight() {
        let close = |actual: &[f32], expected: &[f64]| {
            let errors = actual.iter().zip(expected);
            let errors = errors.map(|(actual, expected)| (f64::from(*actual) - expected).abs());
            assert!(errors.fold(0.0, f64::max) < 1e-6, "{actual:?} {expected:?}");
        };
        let (x, y) = (vec![1.0_f32, 0.0], vec![0.0_f32, 1.0]);
        // The weight of a single part has no effect.
        assert_eq!(combine_vectors(&[(x.clone(), 7.0)]).unwrap(), x);
        let half = 0.5_f64.sqrt();
        let sum = combine_vectors(&[(x.clone(), 1.0), (y.clone(), 1.0)]).unwrap();
        close(&sum, &[half, half]);
        let less = combine_vectors(&[(x.clone(), 3.0), (y.clone(), -4.0)]).unwrap();
        close(&less, &[0.6, -0.8]);
        // The length of a vector has no effect.
        let long = combine_vectors(&[(vec![5.0, 0.0], 3.0), (y.clone(), 4.0)]).unwrap();
        close(&long, &[0.6, 0.8]);
        let tiny = combine_vectors(&[(x.clone(), 3e-200), (y.clone(), -4e-200)]).unwrap();
        close(&tiny, &[0.6, -0.8]);
        let almost = vec![1.0_f32, 1e-4];
        for nothing in [
            [(x.clone(), 1.0), (x.clone(), -1.0)],
            [(x.clone(), 50.0), (almost, -50.0)],
            [(x.clone(), 2.0), (vec![-1.0, 0.0], 2.0)],
            [(x.clone(), 1.0), (vec![0.0, 0.0], 1.0)],
        ] {
            assert_eq!(
                combine_vectors(&nothing).unwrap_err().code,
                Code::CancelsOut
            );
        }
        assert!(combine_vectors(&[(x.clone(), 1.0), (x, -0.5)]).is_ok());
    }
}

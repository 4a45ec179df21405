//! The operation that compares two images.

use poem_openapi::OpenApi;
use poem_openapi::param::Query;

use super::convert::{parse_image_id, to_image_body};
use super::params::{ServiceData, example_id};
use super::refusals::CompareRefusal;
use super::responses::JsonAnswer;
use super::schema::{BandBody, Comparison, DifferenceBody, OverlayTransformBody};
use super::tags::Tag;
use crate::core::compare::{ComparisonResult, ImageDifference, OverlayTransform, compare_images};

pub(crate) struct CompareApi;

#[OpenApi]
impl CompareApi {
    /// Compare two images
    ///
    /// Decodes both files, and states how similar the images are and what differs: the size, the format, the
    /// part that is shown, mirroring, rotation, brightness, colours, or the content itself. If both show the same
    /// in some position, `transform` lays one on the other.
    #[oai(
        path = "/v1/compare",
        method = "get",
        operation_id = "compareImages",
        tag = "Tag::Images"
    )]
    async fn compare_images(
        &self,
        service: ServiceData<'_>,
        /// The id of the first image: 32 lower-case hexadecimal digits.
        #[oai(example = "example_id")]
        a: Query<String>,
        /// The id of the second image: 32 lower-case hexadecimal digits.
        #[oai(example = "example_id")]
        b: Query<String>,
    ) -> Result<JsonAnswer<Comparison>, CompareRefusal> {
        let (a, b) = (parse_image_id("a", &a)?, parse_image_id("b", &b)?);
        let comparison = compare_images(&service, &a, &b).await?;
        Ok(JsonAnswer(to_comparison_body(comparison)))
    }
}

fn to_comparison_body(comparison: ComparisonResult) -> Comparison {
    let differences = comparison.differences.into_iter();
    Comparison {
        a: to_image_body(comparison.a),
        b: to_image_body(comparison.b),
        score: round_to(comparison.score, 1e6),
        band: comparison.band.map(BandBody::from),
        same_content: comparison.same_content,
        differences: differences.map(to_difference_body).collect(),
        transform: comparison.transform.map(to_transform_body),
        took_ms: round_to(comparison.took.as_secs_f64() * 1e3, 10.0),
    }
}

fn to_difference_body(difference: ImageDifference) -> DifferenceBody {
    DifferenceBody {
        kind: difference.kind.into(),
        detail: difference.detail,
    }
}

fn to_transform_body(transform: OverlayTransform) -> OverlayTransformBody {
    let matrix = transform.map.matrix.iter();
    OverlayTransformBody {
        matrix: matrix.map(|number| round_to(*number, 1e6)).collect(),
        overlap: round_to(transform.overlap, 1e4),
    }
}

/// Rounds to a part of one; further digits have no meaning. Never returns −0.
fn round_to(number: f64, parts: f64) -> f64 {
    (number * parts).round() / parts + 0.0
}

//! Compares two images of the index: how similar they are, what differs, and how one lies on the other.

mod describe;
mod difference;

use std::time::{Duration, Instant};

use futures_util::future::join;
use lookalike_index::{IndexHit, IndexedImage, ReadConsistency};
use lookalike_vision::{AffineMap, Band, ComparedPicture, Limits};

use self::describe::{ComparedLooks, describe_differences};
pub(crate) use self::difference::{ImageDifference, ImageDifferenceKind};
use super::decode_limiter::BlockingPermit;
use super::files::{describe_read_error, find_file};
use super::hit_bands::{BandedHits, QueryPicture};
use super::service::SearchService;
use crate::problem::{Code, Problem};

/// How the second image lies on the first one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct OverlayTransform {
    /// From points of the first image to the second one, in pixels of the upright pictures, with the origin at
    /// the outer corner of the top left pixel.
    pub map: AffineMap,
    /// Share of the first image that the second one covers, 0 to 1.
    pub overlap: f64,
}

/// The result of a comparison.
pub(crate) struct ComparisonResult {
    pub a: IndexedImage,
    pub b: IndexedImage,
    /// Cosine of the two vectors, −1 to 1.
    pub score: f64,
    /// `None`: the model has no calibrated bands.
    pub band: Option<Band>,
    pub same_content: bool,
    pub differences: Vec<ImageDifference>,
    /// `None` if no position was verified in which both show the same.
    pub transform: Option<OverlayTransform>,
    pub took: Duration,
}

/// Compares two images by their ids.
pub(crate) async fn compare_images(
    service: &SearchService,
    a: &str,
    b: &str,
) -> Result<ComparisonResult, Problem> {
    let started = Instant::now();
    let serving = service.load_model();
    let fetch = async |param: &str, id: &str| {
        let row = serving
            .index
            .fetch_row(id, ReadConsistency::Bounded)
            .await?;
        row.ok_or_else(|| Problem::no_such_image(id).with_param(param))
    };
    // If both are missing, the problem always names the first one.
    let (a, b) = join(fetch("a", a), fetch("b", b)).await;
    let (a, b) = (a?, b?);
    let score = cosine(&a.vector, &b.vector);
    let band = serving.description.bands.map(|bands| {
        let hit = IndexHit {
            image: b.image.clone(),
            score: score as f32,
        };
        let picture = QueryPicture::from_row(&a.image);
        let banded = BandedHits::compare(&bands, &picture, vec![hit]);
        banded.bands.first().copied().unwrap_or(Band::NoMatch)
    });
    let (a, b) = (a.image, b.image);
    let same_content = !a.content_hash.is_empty() && a.content_hash == b.content_hash;
    let (differences, transform) = if same_content {
        let identity = OverlayTransform {
            map: AffineMap::IDENTITY,
            overlap: 1.0,
        };
        (Vec::new(), Some(identity))
    } else {
        let looks = compare_files(service, &a, &b).await?;
        let transform = looks.alignment.map(|alignment| OverlayTransform {
            map: alignment.map,
            overlap: alignment.overlap,
        });
        (describe_differences(&a, &b, band, &looks), transform)
    };
    Ok(ComparisonResult {
        a,
        b,
        score,
        band,
        same_content,
        differences,
        transform,
        took: started.elapsed(),
    })
}

/// Returns the cosine of two unit vectors.
fn cosine(vector: &[f32], other: &[f32]) -> f64 {
    let products = vector.iter().zip(other);
    let sum: f64 = products
        .map(|(value, other)| f64::from(*value) * f64::from(*other))
        .sum();
    sum.clamp(-1.0, 1.0)
}

/// Reads and decodes both files, and finds how the pictures lie on each other.
async fn compare_files(
    service: &SearchService,
    a: &IndexedImage,
    b: &IndexedImage,
) -> Result<ComparedLooks, Problem> {
    // The permit comes before the bytes: files that wait for a permit would fill the memory.
    let permit: BlockingPermit = service.thumbnail_decodes.acquire().await?;
    let bytes = read_original(service, "a", a).await?;
    let other_bytes = read_original(service, "b", b).await?;
    let limits = service.limits.clone();
    let work = move || {
        let picture = decode_picture("a", &bytes, &limits)?;
        drop(bytes);
        let other = decode_picture("b", &other_bytes, &limits)?;
        drop(other_bytes);
        let alignment = picture.align_to(&other);
        Ok(ComparedLooks {
            look: picture.measure_look(&other, alignment.as_ref()),
            alignment,
        })
    };
    permit.run_blocking(work).await?
}

async fn read_original(
    service: &SearchService,
    param: &str,
    row: &IndexedImage,
) -> Result<Vec<u8>, Problem> {
    let name_file = |problem: Problem| {
        let detail = match problem.detail.starts_with(&row.path) {
            true => problem.detail.clone(),
            false => format!("{}: {}", row.path, problem.detail),
        };
        Problem { detail, ..problem }.with_param(param)
    };
    let located = find_file(service, &row.library, &row.path)
        .await
        .map_err(name_file)?;
    let limits = service.limits.clone();
    let path = located.path.clone();
    let read = move || {
        limits
            .check_file_bytes(located.bytes)
            .map_err(Problem::from)?;
        std::fs::read(path).map_err(|error| {
            let (code, reason) = describe_read_error(error);
            Problem::new(code, reason)
        })
    };
    let bytes = located.disk.run_blocking(read).await.flatten();
    bytes.map_err(|problem| name_file(blame_file(problem)))
}

fn decode_picture(param: &str, bytes: &[u8], limits: &Limits) -> Result<ComparedPicture, Problem> {
    let decoded = ComparedPicture::decode(bytes, limits);
    decoded.map_err(|error| blame_file(Problem::from(error)).with_param(param))
}

/// Corrects the code of a file that is too large. It was small enough when it was indexed, so it has changed
/// since.
fn blame_file(problem: Problem) -> Problem {
    match problem.code {
        Code::UploadTooLarge => Problem {
            code: Code::TooMuchMemory,
            ..problem
        },
        _ => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cosine_never_exceeds_one() {
        let vector = vec![0.6_f32, 0.800_000_1];
        assert_eq!(cosine(&vector, &vector), 1.0);
        assert!((cosine(&[1.0, 0.0], &[0.6, 0.8]) - 0.6).abs() < 1e-6);
        assert_eq!(cosine(&[1.0, 0.0], &[-1.0, 0.0]), -1.0);
    }
}

//! Finds how one picture has to be moved, scaled, turned or mirrored to lie on another one, and what else
//! differs.
//!
//! The pictures are reduced to [`COMPARED_SIDE`] pixels, and compared by their brightness:
//!
//! | step | where |
//! |---|---|
//! | propose: slide each picture over the other, in many sizes and orientations | [`propose`] |
//! | refine: align the pictures by their gradients, from coarse to fine | [`refine`] |
//! | verify: correlate what both show, as a whole and in its details | [`verify`] |
//! | measure what differs in brightness, contrast and colour | [`look`] |

mod affine;
mod plane;

mod look;
mod propose;
mod refine;
mod verify;

pub use affine::AffineMap;
pub use look::{LookDifference, MeanLook};

use self::plane::LumaPyramid;
use self::propose::{Proposal, propose_any_angle, propose_upright};
use self::refine::refine_map;
use self::verify::{Agreement, check_map};
use crate::decode::{
    deadline::DecodeMonitor,
    decode_to_size,
    decoded::{DecodedImage, MinDecodedSize},
    limits::Limits,
};
use crate::error::DecodeError;
use crate::model::description::ResampleFilter;
use crate::preprocess::resample_image;

/// The longer side of compared pictures, in pixels. Smaller pictures keep their size.
const COMPARED_SIDE: u32 = 384;
/// Proposals of one step that are refined.
const MAX_REFINED: usize = 6;

/// A picture, reduced for a comparison.
pub struct ComparedPicture {
    /// Of the upright picture in the file, in pixels.
    pub width: u32,
    /// Of the upright picture in the file, in pixels.
    pub height: u32,
    reduced: DecodedImage,
    pyramid: LumaPyramid,
}

/// How a picture lies on another one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alignment {
    /// Maps points of the upright first picture to the second one. Both are in pixels of their files, with the
    /// origin at the outer corner of the top left pixel.
    pub map: AffineMap,
    /// Share of the first picture that the second one covers, 0 to 1.
    pub overlap: f64,
    /// Share of the second picture that the first one covers, 0 to 1.
    pub other_overlap: f64,
    /// Correlation of the brightness of what both show, −1 to 1.
    pub correlation: f64,
    /// Share of the common area that shows something else, 0 to 1.
    pub changed: f64,
}

impl ComparedPicture {
    /// Decodes a file.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self, DecodeError> {
        let (min_size, monitor) = (
            MinDecodedSize::LongSide(COMPARED_SIDE),
            DecodeMonitor::default(),
        );
        let (image, attributes) = decode_to_size(bytes, min_size, limits, &monitor)?;
        Ok(Self::from_image(
            &image,
            attributes.width,
            attributes.height,
        ))
    }

    /// Takes a decoded upright picture, whose size in the file may be larger.
    fn from_image(image: &DecodedImage, width: u32, height: u32) -> Self {
        let reduced = reduce_image(image);
        Self {
            width,
            height,
            pyramid: LumaPyramid::new(&reduced),
            reduced,
        }
    }

    /// Returns how this picture lies on the other one; `None` if no position was found in which both show
    /// the same.
    pub fn align_to(&self, other: &Self) -> Option<Alignment> {
        let (planes, others) = (&self.pyramid, &other.pyramid);
        let upright = self.try_proposals(other, propose_upright(planes, others));
        let best =
            upright.or_else(|| self.try_proposals(other, propose_any_angle(planes, others)))?;
        let (map, agreement) = best;
        Some(Alignment {
            map: self.to_file_pixels(&map, other),
            overlap: agreement.overlap,
            other_overlap: agreement.other_overlap,
            correlation: agreement.correlation,
            changed: agreement.changed,
        })
    }

    /// Refines the best proposals, and returns the one that agrees best, if any does.
    fn try_proposals(
        &self,
        other: &Self,
        mut proposals: Vec<Proposal>,
    ) -> Option<(AffineMap, Agreement)> {
        proposals.sort_by(|a, b| b.correlation.total_cmp(&a.correlation));
        let mut best: Option<(AffineMap, Agreement)> = None;
        let mut refined: Vec<AffineMap> = Vec::new();
        for proposal in proposals {
            if refined.len() >= MAX_REFINED {
                break;
            }
            let side = f64::from(COMPARED_SIDE);
            if refined
                .iter()
                .any(|map| map.is_near(&proposal.map, 0.03 * side, side))
            {
                continue;
            }
            refined.push(proposal.map);
            let Some(map) = refine_map(&self.pyramid, &other.pyramid, proposal.map) else {
                continue;
            };
            let Some(agreement) = check_map(&self.pyramid, &other.pyramid, &map) else {
                continue;
            };
            if best
                .as_ref()
                .is_none_or(|(_, best)| agreement.quality() > best.quality())
            {
                best = Some((map, agreement));
            }
        }
        best
    }

    /// Measures what differs in brightness and colour, where the alignment says that both show the same, or
    /// between the whole pictures.
    pub fn measure_look(&self, other: &Self, alignment: Option<&Alignment>) -> LookDifference {
        let map = alignment.map(|alignment| self.to_reduced_pixels(&alignment.map, other));
        LookDifference::measure(&self.reduced, &other.reduced, map.as_ref())
    }

    /// Returns the pixels of the reduced picture per pixel of the file.
    fn reduction(&self) -> (f64, f64) {
        (
            f64::from(self.reduced.width) / f64::from(self.width.max(1)),
            f64::from(self.reduced.height) / f64::from(self.height.max(1)),
        )
    }

    fn to_file_pixels(&self, map: &AffineMap, other: &Self) -> AffineMap {
        let (from, to) = (self.reduction(), other.reduction());
        map.rescaled(from, (1.0 / to.0, 1.0 / to.1))
    }

    fn to_reduced_pixels(&self, map: &AffineMap, other: &Self) -> AffineMap {
        let (from, to) = (self.reduction(), other.reduction());
        map.rescaled((1.0 / from.0, 1.0 / from.1), to)
    }
}

fn reduce_image(image: &DecodedImage) -> DecodedImage {
    let long_side = image.width.max(image.height);
    if long_side <= COMPARED_SIDE {
        return image.clone();
    }
    let scaled = |side: u32| {
        let side = f64::from(side) * f64::from(COMPARED_SIDE) / f64::from(long_side);
        (side.round() as u32).max(1)
    };
    let (width, height) = (scaled(image.width), scaled(image.height));
    DecodedImage {
        width,
        height,
        rgb: resample_image(image, None, width, height, ResampleFilter::Bilinear),
    }
}

#[cfg(test)]
mod tests;

//! Decodes HEIC, the format of phones: HEVC pictures in a HEIF container.
//!
//! The crate `heic-rs` decodes. It checks the sizes that the container states; the sizes that a decoder
//! allocates are in the HEVC data, so they are checked here first. The tiles of a photo (a grid of 512
//! × 512 pixels) are decoded one by one, with a look at the deadline in between.

mod parameters;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use heic_rs::{
    DecodeOptions, Error as HeicError, Image as HeicImage, MatrixCoefficients, Mirror, Nclx,
    PixelLayout, Range, Transform,
    context::Context,
    grid::{Grid, compose},
    hevc::{Frame, decode_still},
    meta::iloc::Construction,
    metadata::exif_tiff,
    props::ItemProps,
    transform,
};
use image::{DynamicImage, RgbImage, RgbaImage, metadata::Orientation};

use self::parameters::SequenceParameters;
use crate::decode::{
    deadline::CpuDeadline,
    decoded::DecoderOutput,
    encoding::{SampleEncoding, SourceProfile},
    limits::Limits,
};
use crate::error::DecodeError;

const FORMAT: &str = "heic";

/// The type of a NAL unit that is a sequence parameter set.
const SEQUENCE_PARAMETER_SET: u8 = 33;

/// Most turns, mirrors and crops of a picture. Each copies it; cameras write at most three.
const MAX_TRANSFORMS: usize = 8;

/// Bytes per pixel that a decoder needs next to the planes: a copy of them, sums of the filters and modes
/// of blocks.
const WORKING_BYTES: u64 = 8;

/// Decodes the primary image of a HEIF file, upright.
pub(crate) fn decode_heif(
    bytes: &[u8],
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> Result<DecoderOutput, DecodeError> {
    let context = Context::open(bytes).map_err(|error| classify_heic_error(error, bytes))?;
    // Items made of parts of other items can be nested so that reading them never ends.
    let has_nested_items = context
        .meta
        .locations
        .iter()
        .any(|location| location.construction == Construction::Item);
    if has_nested_items {
        return Err(DecodeError::UnsupportedFeature {
            format: FORMAT,
            reason: "its items are made of parts of other items".to_owned(),
        });
    }
    let decoder = HeifDecoder {
        context,
        bytes,
        limits,
        deadline,
    };
    let output = decoder.decode_primary();
    output.map_err(|error| match error {
        // A file that was preallocated and not filled.
        DecodeError::Corrupt { format, .. } if ends_in_zeros(bytes) => DecodeError::Truncated {
            format,
            reason: "its end is zeros".to_owned(),
        },
        error => error,
    })
}

/// Returns the XMP packet of the primary image.
pub(crate) fn find_xmp_packet(bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
    let context = Context::open(bytes).ok()?;
    let packet = context.xmp_item(context.meta.primary)?;
    context.item_data(packet).ok()
}

fn ends_in_zeros(bytes: &[u8]) -> bool {
    let tail = &bytes[bytes.len() - bytes.len().min(256)..];
    bytes.len() > 512 && tail.iter().all(|byte| *byte == 0)
}

struct HeifDecoder<'a, 'b> {
    context: Context<'b>,
    bytes: &'b [u8],
    limits: &'a Limits,
    deadline: &'a CpuDeadline<'a>,
}

/// The coded pictures that an item consists of.
struct CodedParts<'b> {
    grid: Option<Grid>,
    parts: Vec<(u32, ItemProps<'b>)>,
    /// Bytes that decoding all of them needs.
    memory: u64,
    /// The colour description of the first.
    parameters: SequenceParameters,
}

impl CodedParts<'_> {
    /// Pixels of the frame that the parts are joined to.
    fn joined_pixels(&self) -> u64 {
        match &self.grid {
            Some(grid) => u64::from(grid.output_width) * u64::from(grid.output_height),
            None => self.parameters.width * self.parameters.height,
        }
    }
}

impl<'b> HeifDecoder<'_, 'b> {
    fn classify(&self, error: HeicError) -> DecodeError {
        classify_heic_error(error, self.bytes)
    }

    fn decode_primary(&self) -> Result<DecoderOutput, DecodeError> {
        let item = self.context.meta.primary;
        let properties = self.context.props(item).map_err(|e| self.classify(e))?;
        self.check_coding(item)?;
        if properties.transforms.len() > MAX_TRANSFORMS {
            return Err(corrupt("it is turned or cropped too many times"));
        }
        let (coded_width, coded_height) = self
            .context
            .coded_size(item, &properties)
            .map_err(|e| self.classify(e))?;
        self.limits
            .check_pixels(FORMAT, coded_width, coded_height)?;
        let (width, height) =
            transform::transformed_size(coded_width, coded_height, &properties.transforms)
                .map_err(|e| self.classify(e))?;
        self.limits.check_pixels(FORMAT, width, height)?;
        let color = self.collect_parts(item, &properties)?;
        let alpha = self.find_alpha()?;
        // The joined frame has the size of the grid or of the HEVC data, whatever the container states.
        let pixels = (u64::from(coded_width) * u64::from(coded_height)).max(color.joined_pixels());
        let alpha_memory = alpha.as_ref().map_or(0, |(_, parts)| {
            let joined = parts.joined_pixels().saturating_mul(2);
            parts.memory.saturating_add(joined)
        });
        // The joined planes, the pixels and a turned copy of them.
        let memory = color
            .memory
            .saturating_add(alpha_memory)
            .saturating_add(pixels.saturating_mul(6 + 4 + 4))
            .saturating_add(self.bytes.len() as u64);
        let _permit = self.deadline.reserve_memory(self.limits, memory)?;
        let frame = self.decode_parts(&color)?;
        let alpha = match alpha {
            // A picture is used even if its alpha is damaged.
            Some((_, parts)) => self.decode_parts(&parts).ok(),
            None => None,
        }
        .filter(|alpha| (alpha.width, alpha.height) == (frame.width, frame.height));
        self.deadline.check()?;
        let signal = self.color_signal(&properties, &color);
        let layout = match alpha {
            Some(_) => PixelLayout::Rgba8,
            None => PixelLayout::Rgb8,
        };
        let options = DecodeOptions::default();
        let image = heic_rs::color::convert(
            &frame,
            alpha.as_ref(),
            signal,
            layout,
            self.limits.max_pixels.min(options.pixel_limit()),
            Some(1),
        )
        .and_then(|image| transform::apply_all(image, &correct_mirrors(&properties.transforms)))
        .map_err(|e| self.classify(e))?;
        let image = to_dynamic_image(image)?;
        Ok(DecoderOutput {
            width: image.width(),
            height: image.height(),
            image,
            // The container turns the picture; the EXIF block repeats that for other programs.
            orientation: Some(Orientation::NoTransforms),
            exif: self.read_exif_block(item),
            encoding: SampleEncoding {
                profile: color_profile(&properties, &color, signal),
                ..SampleEncoding::default()
            },
        })
    }

    /// Checks that the item is coded with HEVC.
    fn check_coding(&self, item: u32) -> Result<(), DecodeError> {
        let kind_of = |item| {
            self.context
                .meta
                .item(item)
                .map(|info| info.item_type)
                .unwrap_or_default()
        };
        let kind = match self.context.grid(item).map_err(|e| self.classify(e))? {
            Some((_, tiles)) => tiles.first().map_or(*b"none", |tile| kind_of(*tile)),
            None => kind_of(item),
        };
        match &kind {
            b"hvc1" | b"hev1" => Ok(()),
            b"av01" => Err(DecodeError::UnsupportedFormat { format: "AVIF" }),
            other => Err(DecodeError::UnsupportedFeature {
                format: FORMAT,
                reason: match other {
                    b"unci" => "its pixels are not compressed with HEVC".to_owned(),
                    b"jpeg" | b"j2k1" | b"avc1" | b"vvc1" | b"jxl1" => format!(
                        "it is coded with {} in place of HEVC",
                        String::from_utf8_lossy(other)
                    ),
                    _ => "its main picture is not a coded one".to_owned(),
                },
            }),
        }
    }

    fn collect_parts(
        &self,
        item: u32,
        properties: &ItemProps<'b>,
    ) -> Result<CodedParts<'b>, DecodeError> {
        let (grid, items) = match self.context.grid(item).map_err(|e| self.classify(e))? {
            Some((grid, tiles)) => (Some(grid), tiles),
            None => (None, vec![item]),
        };
        let mut parts = Vec::with_capacity(items.len());
        let (mut planes, mut working) = (0_u64, 0_u64);
        let mut first = None;
        for part in items {
            self.deadline.check()?;
            let properties = match grid {
                Some(_) => self.context.props(part).map_err(|e| self.classify(e))?,
                None => properties.clone(),
            };
            let parameters = self.check_sequence_parameters(&properties)?;
            let pixels = parameters.width * parameters.height;
            planes = planes.saturating_add(pixels * plane_bytes(parameters.chroma_format));
            working = working.max(pixels * (plane_bytes(parameters.chroma_format) + WORKING_BYTES));
            first = first.or(Some(parameters));
            parts.push((part, properties));
        }
        Ok(CodedParts {
            grid,
            parts,
            memory: planes.saturating_add(working),
            parameters: first.ok_or_else(|| corrupt("it has no picture"))?,
        })
    }

    /// Checks the sizes in all sequence parameter sets and returns the largest.
    fn check_sequence_parameters(
        &self,
        properties: &ItemProps<'b>,
    ) -> Result<SequenceParameters, DecodeError> {
        let configuration = properties
            .hvcc
            .as_ref()
            .ok_or_else(|| corrupt("its decoder configuration is missing"))?;
        let mut largest: Option<SequenceParameters> = None;
        for unit in configuration.parameter_sets().into_iter().filter(|unit| {
            unit.first()
                .is_some_and(|b| b >> 1 & 0x3f == SEQUENCE_PARAMETER_SET)
        }) {
            let parameters = SequenceParameters::parse(unit)
                .ok_or_else(|| corrupt("its sequence parameters are damaged"))?;
            let side = |side: u64| u32::try_from(side).unwrap_or(u32::MAX);
            self.limits
                .check_pixels(FORMAT, side(parameters.width), side(parameters.height))?;
            let area = |set: &SequenceParameters| set.width * set.height;
            if largest
                .as_ref()
                .is_none_or(|known| area(known) < area(&parameters))
            {
                largest = Some(parameters);
            }
        }
        largest.ok_or_else(|| corrupt("it has no sequence parameters"))
    }

    fn find_alpha(&self) -> Result<Option<(u32, CodedParts<'b>)>, DecodeError> {
        let item = self.context.meta.primary;
        let Ok(Some(alpha)) = self.context.alpha_item(item) else {
            return Ok(None);
        };
        let parts = self
            .context
            .props(alpha)
            .map_err(|e| self.classify(e))
            .and_then(|properties| self.collect_parts(alpha, &properties));
        match parts {
            Ok(parts) => Ok(Some((alpha, parts))),
            Err(error @ DecodeError::TooSlow { .. }) => Err(error),
            Err(_) => Ok(None),
        }
    }

    fn decode_parts(&self, coded: &CodedParts<'b>) -> Result<Frame, DecodeError> {
        let mut frames = Vec::with_capacity(coded.parts.len());
        for (item, properties) in &coded.parts {
            self.deadline.check()?;
            frames.push(
                self.decode_part(*item, properties)
                    .map_err(|e| self.classify(e))?,
            );
        }
        match &coded.grid {
            Some(grid) => compose(grid, &frames, self.limits.max_pixels),
            None => Ok(frames.swap_remove(0)),
        }
        .map_err(|e| self.classify(e))
    }

    fn decode_part(&self, item: u32, properties: &ItemProps<'b>) -> Result<Frame, HeicError> {
        let configuration = properties
            .hvcc
            .as_ref()
            .ok_or(HeicError::MissingBox("hvcC"))?;
        let data = self.context.item_data(item)?;
        let units = configuration.split_nals(&data)?;
        let frame = decode_still(&configuration.parameter_sets(), &units)?;
        frame.validate()?;
        Ok(frame)
    }

    /// Returns how YCbCr becomes RGB: from the container, from a tile, or from the HEVC data, where
    /// phones state it. Pictures that say nothing are read as other programs do.
    fn color_signal(&self, properties: &ItemProps<'b>, color: &CodedParts<'b>) -> Nclx {
        let stated = properties
            .nclx
            .or_else(|| color.parts.first().and_then(|(_, tile)| tile.nclx));
        let mut signal = stated.unwrap_or_else(|| match color.parameters.signal {
            Some(signal) => Nclx {
                primaries: signal.primaries,
                transfer: signal.transfer,
                matrix: MatrixCoefficients::from_code(signal.matrix),
                matrix_code: signal.matrix,
                range: match signal.is_full_range {
                    true => Range::Full,
                    false => Range::Limited,
                },
            },
            None => Nclx {
                matrix: MatrixCoefficients::Unspecified,
                ..Nclx::default()
            },
        });
        if signal.matrix == MatrixCoefficients::Unspecified {
            signal.matrix = MatrixCoefficients::Bt601;
        }
        signal
    }

    fn read_exif_block(&self, item: u32) -> Option<Vec<u8>> {
        let exif = self.context.exif_item(item)?;
        let data = self.context.item_data(exif).ok()?;
        Some(exif_tiff(&data).ok()?.to_vec())
    }
}

/// Exchanges the two kinds of mirrors. `heic-rs` 0.1.4 follows the first edition of the standard
/// (ISO/IEC 23008-12:2017). Cameras and other programs follow the second, which defines 1 as the exchange
/// of left and right.
fn correct_mirrors(transforms: &[Transform]) -> Vec<Transform> {
    transforms
        .iter()
        .map(|transform| match transform {
            Transform::Mirror(Mirror::LeftRight) => Transform::Mirror(Mirror::TopBottom),
            Transform::Mirror(Mirror::TopBottom) => Transform::Mirror(Mirror::LeftRight),
            other => *other,
        })
        .collect()
}

/// Returns the colour space of the pixels: an ICC profile, or else what the numbers of the colour
/// description say. Primaries of sRGB are not worth a conversion.
fn color_profile(
    properties: &ItemProps<'_>,
    color: &CodedParts<'_>,
    signal: Nclx,
) -> SourceProfile {
    let of_tile = color.parts.first().and_then(|(_, tile)| tile.icc);
    if let Some(profile) = properties.icc.or(of_tile) {
        return SourceProfile::Icc(profile.to_vec());
    }
    let codes = (
        u8::try_from(signal.primaries),
        u8::try_from(signal.transfer),
    );
    match codes {
        (Ok(primaries), Ok(transfer)) if !matches!(primaries, 0..=2) => SourceProfile::Coded {
            primaries,
            transfer,
        },
        _ => SourceProfile::Srgb,
    }
}

/// Bytes per pixel of the planes, which have 16 bits per sample.
fn plane_bytes(chroma_format: u64) -> u64 {
    match chroma_format {
        0 => 2,
        1 => 3,
        2 => 4,
        _ => 6,
    }
}

fn to_dynamic_image(image: HeicImage) -> Result<DynamicImage, DecodeError> {
    let (width, height) = (image.width, image.height);
    match image.layout {
        PixelLayout::Rgba8 => {
            RgbaImage::from_raw(width, height, image.data).map(DynamicImage::ImageRgba8)
        }
        _ => RgbImage::from_raw(width, height, image.data).map(DynamicImage::ImageRgb8),
    }
    .ok_or_else(|| corrupt("it has fewer pixels than its header claims"))
}

fn corrupt(reason: &str) -> DecodeError {
    DecodeError::Corrupt {
        format: FORMAT,
        reason: reason.to_owned(),
    }
}

fn classify_heic_error(error: HeicError, bytes: &[u8]) -> DecodeError {
    let reason = error.to_string();
    match error {
        HeicError::Unsupported(_) => DecodeError::UnsupportedFeature {
            format: FORMAT,
            reason,
        },
        HeicError::MissingBox("meta") if bytes.windows(4).any(|name| name == b"moov") => {
            DecodeError::UnsupportedFeature {
                format: FORMAT,
                reason: "it is a film".to_owned(),
            }
        }
        _ if bytes.get(20..24) == Some(b"mini") => DecodeError::UnsupportedFeature {
            format: FORMAT,
            reason: "its container is the short one of HEIF's third edition".to_owned(),
        },
        HeicError::Truncated(_) | HeicError::MissingBox("meta") => DecodeError::Truncated {
            format: FORMAT,
            reason,
        },
        _ => DecodeError::Corrupt {
            format: FORMAT,
            reason,
        },
    }
}

//! Decodes HEIF containers: HEIC, the format of phones, with pictures of HEVC, and AVIF, with pictures
//! of AV1.
//!
//! The crate `heic-rs` reads containers and decodes HEVC. It checks the sizes that the container states; the sizes that a decoder
//! allocates are in the compressed data, so they are checked here first. The tiles of a photo (a grid of 512
//! × 512 pixels) are decoded one by one, with a look at the deadline in between.

#[cfg(feature = "avif")]
mod av1;
mod parameters;
mod pixels;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

#[cfg(feature = "avif")]
use heic_rs::Transform;
use heic_rs::{
    Brand, DecodeOptions, Error as HeicError, MatrixCoefficients, Nclx, PixelLayout, Range,
    context::Context,
    ftyp::FileType,
    grid::{Grid, compose},
    hevc::{Frame, decode_still},
    meta::{self, iloc::Construction, iref::RefKind},
    metadata::exif_tiff,
    props::ItemProps,
    transform,
};
use image::{DynamicImage, metadata::Orientation};

use self::{
    parameters::SequenceParameters,
    pixels::{correct_mirrors, divide_by_alpha, plane_bytes, to_dynamic_image},
};
#[cfg(feature = "avif")]
use crate::decode::{
    animation::{MAX_FRAME_PIXELS, MAX_FRAMES, MAX_NOISE},
    appearance::is_one_color,
};
use crate::decode::{
    deadline::CpuDeadline,
    decoded::DecoderOutput,
    encoding::{SampleEncoding, SourceProfile},
    limits::Limits,
};
use crate::error::DecodeError;

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
    format: &'static str,
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> Result<DecoderOutput, DecodeError> {
    let context =
        open_container(bytes).map_err(|error| classify_heic_error(error, bytes, format))?;
    // Items made of parts of other items can be nested so that reading them never ends.
    let has_nested_items = context
        .meta
        .locations
        .iter()
        .any(|location| location.construction == Construction::Item);
    if has_nested_items {
        return Err(DecodeError::UnsupportedFeature {
            format,
            reason: "its items are made of parts of other items".to_owned(),
        });
    }
    let decoder = HeifDecoder {
        context,
        bytes,
        format,
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
    let context = open_container(bytes).ok()?;
    let packet = context.xmp_item(context.meta.primary)?;
    context.item_data(packet).ok()
}

/// Opens a container whatever its brands, which `sniff` has read: `heic-rs` refuses those of AVIF.
fn open_container(bytes: &[u8]) -> Result<Context<'_>, HeicError> {
    Ok(Context {
        file: bytes,
        ftyp: FileType {
            major: Brand::Mif1,
            effective: Brand::Mif1,
            minor_version: 0,
            compatible_count: 0,
        },
        meta: meta::parse(bytes)?,
    })
}

fn ends_in_zeros(bytes: &[u8]) -> bool {
    let tail = &bytes[bytes.len() - bytes.len().min(256)..];
    bytes.len() > 512 && tail.iter().all(|byte| *byte == 0)
}

struct HeifDecoder<'a, 'b> {
    context: Context<'b>,
    bytes: &'b [u8],
    /// Of the file, for errors.
    format: &'static str,
    limits: &'a Limits,
    deadline: &'a CpuDeadline<'a>,
}

/// A coded picture, and what decodes it.
struct CodedPart<'b> {
    item: u32,
    properties: ItemProps<'b>,
    coding: PartCoding,
}

/// Tables of a decoder.
const FIXED_BYTES: u64 = 1 << 19;

/// What decodes a picture, with the parameters in its data.
enum PartCoding {
    Hevc(SequenceParameters),
    #[cfg(feature = "avif")]
    Av1(av1::Av1Claim),
}

impl PartCoding {
    fn parameters(&self) -> SequenceParameters {
        match self {
            Self::Hevc(parameters) => *parameters,
            #[cfg(feature = "avif")]
            Self::Av1(claim) => claim.sequence.parameters,
        }
    }

    /// Bytes per pixel that a decoder needs next to the planes.
    fn working_bytes(&self) -> u64 {
        match self {
            Self::Hevc(parameters) => plane_bytes(parameters.chroma_format) + WORKING_BYTES,
            #[cfg(feature = "avif")]
            Self::Av1(claim) => claim.working_bytes,
        }
    }
}

/// The coded pictures that an item consists of.
struct CodedParts<'b> {
    grid: Option<Grid>,
    parts: Vec<CodedPart<'b>>,
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
        classify_heic_error(error, self.bytes, self.format)
    }

    /// Returns the size that the container states, before it is turned and cropped.
    fn check_sizes(
        &self,
        item: u32,
        properties: &ItemProps<'b>,
    ) -> Result<(u32, u32), DecodeError> {
        if properties.transforms.len() > MAX_TRANSFORMS {
            return Err(self.corrupt("it is turned or cropped too many times"));
        }
        let (coded_width, coded_height) = self
            .context
            .coded_size(item, properties)
            .map_err(|e| self.classify(e))?;
        self.limits
            .check_pixels(self.format, coded_width, coded_height)?;
        let (width, height) =
            transform::transformed_size(coded_width, coded_height, &properties.transforms)
                .map_err(|e| self.classify(e))?;
        self.limits.check_pixels(self.format, width, height)?;
        Ok((coded_width, coded_height))
    }

    fn decode_primary(&self) -> Result<DecoderOutput, DecodeError> {
        let item = self.context.meta.primary;
        let properties = self.context.props(item).map_err(|e| self.classify(e))?;
        let (coded_width, coded_height) = self.check_sizes(item, &properties)?;
        let color = self.collect_parts(item, &properties)?;
        let alpha = self.find_alpha()?;
        // The joined frame has the size of the grid or of the data, whatever the container states.
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
            .saturating_add(self.bytes.len() as u64 + FIXED_BYTES);
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
        let mut image = to_dynamic_image(image)
            .ok_or_else(|| self.corrupt("it has fewer pixels than its header claims"))?;
        if let DynamicImage::ImageRgba8(rgba) = &mut image
            && self.is_premultiplied(item)
        {
            divide_by_alpha(rgba);
        }
        #[cfg(feature = "avif")]
        if let PartCoding::Av1(_) = &color.parts[0].coding
            && is_one_color(&image, MAX_NOISE)
        {
            // The memory of this picture is free again.
            drop((frame, alpha, _permit));
            image = self.choose_frame(image, signal, &properties);
            self.deadline.check()?;
        }
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

    /// Returns the first frame of an image sequence that is not one colour, or else the picture. A
    /// damaged frame ends the search.
    #[cfg(feature = "avif")]
    fn choose_frame(
        &self,
        picture: DynamicImage,
        signal: Nclx,
        properties: &ItemProps<'b>,
    ) -> DynamicImage {
        let frames = av1::list_frames(self.bytes, MAX_FRAMES as usize);
        let Some(first) = frames.first().filter(|_| frames.len() > 1) else {
            return picture;
        };
        let first = &self.bytes[first.clone()];
        let Ok(claim) = av1::check_sequence_headers(first, plane_bytes, self.limits) else {
            return picture;
        };
        let parameters = claim.sequence.parameters;
        let pixels = parameters.width * parameters.height;
        let planes = plane_bytes(parameters.chroma_format);
        let pixel_bytes = planes + claim.working_bytes + 3 + 3 + 4;
        let Ok(_permit) = self
            .deadline
            .reserve_memory(self.limits, pixels.saturating_mul(pixel_bytes))
        else {
            return picture;
        };
        let Ok(mut decoder) = av1::Av1Decoder::open(&claim, self.deadline) else {
            return picture;
        };
        let max_frames = (MAX_FRAME_PIXELS / pixels.max(1)) as usize;
        for frame in frames.into_iter().take(max_frames) {
            let Ok(Some(frame)) = decoder.decode(&self.bytes[frame]) else {
                break;
            };
            match self.convert_frame(&frame, signal, &properties.transforms) {
                Some(image) if !is_one_color(&image, MAX_NOISE) => return image,
                Some(_) => {}
                None => break,
            }
        }
        picture
    }

    #[cfg(feature = "avif")]
    fn convert_frame(
        &self,
        frame: &Frame,
        signal: Nclx,
        transforms: &[Transform],
    ) -> Option<DynamicImage> {
        let (limit, layout) = (self.limits.max_pixels, PixelLayout::Rgb8);
        let image = heic_rs::color::convert(frame, None, signal, layout, limit, Some(1)).ok()?;
        to_dynamic_image(transform::apply_all(image, &correct_mirrors(transforms)).ok()?)
    }

    /// Returns what decodes a coded item, whose sizes are within the limits.
    fn check_coding(
        &self,
        item: u32,
        properties: &ItemProps<'b>,
    ) -> Result<PartCoding, DecodeError> {
        let info = self.context.meta.item(item);
        let kind = info.map(|info| info.item_type).unwrap_or_default();
        let reason = match &kind {
            b"hvc1" | b"hev1" => {
                return Ok(PartCoding::Hevc(
                    self.check_sequence_parameters(properties)?,
                ));
            }
            #[cfg(feature = "avif")]
            b"av01" => {
                let data = self.context.item_data(item).map_err(|e| self.classify(e))?;
                let claim = av1::check_sequence_headers(&data, plane_bytes, self.limits)?;
                return Ok(PartCoding::Av1(claim));
            }
            #[cfg(not(feature = "avif"))]
            b"av01" => return Err(DecodeError::UnsupportedFormat { format: "AVIF" }),
            b"unci" => "its pixels are not compressed",
            b"jpeg" => "it is coded with JPEG",
            b"j2k1" => "it is coded with JPEG 2000",
            b"avc1" => "it is coded with H.264 (AVC)",
            b"vvc1" => "it is coded with H.266 (VVC)",
            b"jxl1" => "it is coded with JPEG XL",
            _ => "its main picture is not a coded one",
        };
        Err(DecodeError::UnsupportedFeature {
            format: self.format,
            reason: reason.to_owned(),
        })
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
            let coding = self.check_coding(part, &properties)?;
            let parameters = coding.parameters();
            let pixels = parameters.width * parameters.height;
            planes = planes.saturating_add(pixels * plane_bytes(parameters.chroma_format));
            working = working.max(pixels * coding.working_bytes());
            first = first.or(Some(parameters));
            parts.push(CodedPart {
                item: part,
                properties,
                coding,
            });
        }
        Ok(CodedParts {
            grid,
            parts,
            memory: planes.saturating_add(working),
            parameters: first.ok_or_else(|| self.corrupt("it has no picture"))?,
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
            .ok_or_else(|| self.corrupt("its decoder configuration is missing"))?;
        let mut largest: Option<SequenceParameters> = None;
        for unit in configuration.parameter_sets().into_iter().filter(|unit| {
            unit.first()
                .is_some_and(|b| b >> 1 & 0x3f == SEQUENCE_PARAMETER_SET)
        }) {
            let parameters = SequenceParameters::parse(unit)
                .ok_or_else(|| self.corrupt("its sequence parameters are damaged"))?;
            let side = |side: u64| u32::try_from(side).unwrap_or(u32::MAX);
            self.limits.check_pixels(
                self.format,
                side(parameters.width),
                side(parameters.height),
            )?;
            let area = |set: &SequenceParameters| set.width * set.height;
            if largest
                .as_ref()
                .is_none_or(|known| area(known) < area(&parameters))
            {
                largest = Some(parameters);
            }
        }
        largest.ok_or_else(|| self.corrupt("it has no sequence parameters"))
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
        for part in &coded.parts {
            self.deadline.check()?;
            frames.push(match &part.coding {
                PartCoding::Hevc(_) => self
                    .decode_hevc(part.item, &part.properties)
                    .map_err(|e| self.classify(e))?,
                #[cfg(feature = "avif")]
                PartCoding::Av1(claim) => {
                    let data = self.context.item_data(part.item);
                    let data = data.map_err(|e| self.classify(e))?;
                    av1::decode_av1(&data, claim, self.deadline)?
                }
            });
        }
        match &coded.grid {
            Some(grid) => compose(grid, &frames, self.limits.max_pixels),
            None => Ok(frames.swap_remove(0)),
        }
        .map_err(|e| self.classify(e))
    }

    fn decode_hevc(&self, item: u32, properties: &ItemProps<'b>) -> Result<Frame, HeicError> {
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
            .or_else(|| color.parts.first().and_then(|part| part.properties.nclx));
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

    /// Returns whether colours are stored multiplied with their opacity.
    fn is_premultiplied(&self, item: u32) -> bool {
        let references = &self.context.meta.refs;
        references
            .iter()
            .any(|reference| reference.kind == RefKind::Other(*b"prem") && reference.from == item)
    }

    fn corrupt(&self, reason: &str) -> DecodeError {
        DecodeError::Corrupt {
            format: self.format,
            reason: reason.to_owned(),
        }
    }

    fn read_exif_block(&self, item: u32) -> Option<Vec<u8>> {
        let exif = self.context.exif_item(item)?;
        let data = self.context.item_data(exif).ok()?;
        Some(exif_tiff(&data).ok()?.to_vec())
    }
}

/// Returns the colour space of the pixels: an ICC profile, or else what the numbers of the colour
/// description say. Primaries of sRGB are not worth a conversion.
fn color_profile(
    properties: &ItemProps<'_>,
    color: &CodedParts<'_>,
    signal: Nclx,
) -> SourceProfile {
    let of_tile = color.parts.first().and_then(|part| part.properties.icc);
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

fn classify_heic_error(error: HeicError, bytes: &[u8], format: &'static str) -> DecodeError {
    let reason = error.to_string();
    match error {
        HeicError::Unsupported(_) => DecodeError::UnsupportedFeature { format, reason },
        HeicError::MissingBox("meta") if bytes.windows(4).any(|name| name == b"moov") => {
            DecodeError::UnsupportedFeature {
                format,
                reason: "it is a film".to_owned(),
            }
        }
        _ if bytes.get(20..24) == Some(b"mini") => DecodeError::UnsupportedFeature {
            format,
            reason: "its container is the short one of HEIF's third edition".to_owned(),
        },
        HeicError::Truncated(_) | HeicError::MissingBox("meta") => {
            DecodeError::Truncated { format, reason }
        }
        _ => DecodeError::Corrupt { format, reason },
    }
}

//! Decodes JPEG XL.
//!
//! The crate `jxl` of the format's authors decodes. It limits the samples of a picture, not its own
//! memory. So the file is read twice: the first pass skips all pixels and finds the size and the
//! frames; then the memory for them is reserved, and the second pass decodes. The deadline is checked
//! whenever the decoder reads bytes and between the groups of 256 × 256 pixels that it decodes.

pub(crate) mod boxes;
mod problems;
mod profile;
mod source;
mod survey;

#[cfg(test)]
mod tests;

use image::{DynamicImage, metadata::Orientation};
use jxl::api::{
    AlphaMode, Endianness, Event, JxlColorType, JxlDataFormat, JxlDecoder, JxlDecoderOptions,
    JxlOutputBuffer, JxlPixelFormat, ProfileLevel,
};

use self::{
    problems::{classify_jxl_error, corrupt, truncated},
    profile::read_profile,
    source::{JxlInput, JxlRunner},
    survey::JxlSurvey,
};
use crate::decode::{
    animation::{MAX_FRAME_PIXELS, MAX_NOISE},
    appearance::is_one_color,
    deadline::CpuDeadline,
    decoded::DecoderOutput,
    encoding::{SampleEncoding, SourceProfile},
    limits::Limits,
};
use crate::error::DecodeError;

/// Bytes of each sample of a whole frame that a decoder keeps: the values before and after a transform,
/// which have 16 bits unless the picture is deeper, or the coefficients of a progressive picture.
const WORKING_BYTES: u64 = 4;
const DEEP_WORKING_BYTES: u64 = 8;
/// Tables and buffers of any picture.
const FIXED_BYTES: u64 = 2 << 20;
/// The most bits of samples whose transforms are calculated with 16 bits.
const MAX_SHALLOW_BITS: u32 = 12;
/// Bytes of each sample of the four frames that later frames can refer to.
const REFERENCE_BYTES: u64 = 4 * 4;

/// Decodes a still picture, or the first frame of an animation that is not one colour. The result is
/// upright: the header's orientation is applied, and that of EXIF does not count in this format.
pub(crate) fn decode_jxl(
    bytes: &[u8],
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> Result<DecoderOutput, DecodeError> {
    let survey = JxlSurvey::read(bytes, limits, deadline)?;
    let layout = SampleLayout::choose(&survey);
    let working_bytes = match survey.bits {
        ..=MAX_SHALLOW_BITS => WORKING_BYTES,
        _ => DEEP_WORKING_BYTES,
    };
    let memory = survey
        .samples()
        .saturating_mul(working_bytes)
        .saturating_add(match survey.refers_to_frames {
            true => survey.samples().saturating_mul(REFERENCE_BYTES),
            false => 0,
        })
        // The decoder's output, the same as an image, and the first frame of an animation.
        .saturating_add(
            survey
                .pixels()
                .saturating_mul(layout.pixel_bytes() * if survey.is_animated { 3 } else { 2 }),
        )
        .saturating_add(bytes.len() as u64 + FIXED_BYTES);
    let _permit = deadline.reserve_memory(limits, memory)?;
    let (image, profile) = decode_frames(bytes, &survey, layout, limits, deadline)?;
    Ok(DecoderOutput {
        width: survey.width,
        height: survey.height,
        image,
        orientation: Some(Orientation::NoTransforms),
        exif: None,
        encoding: SampleEncoding {
            profile,
            ..SampleEncoding::default()
        },
    })
}

/// The channels and the depth that the decoder is asked for.
#[derive(Debug, Clone, Copy)]
struct SampleLayout {
    is_gray: bool,
    has_alpha: bool,
    /// 16 bits keep what a conversion of colours needs; sRGB is shown with 8.
    is_deep: bool,
}

impl SampleLayout {
    fn choose(survey: &JxlSurvey) -> Self {
        Self {
            is_gray: survey.is_gray,
            has_alpha: survey.has_alpha,
            is_deep: survey.bits > 8 && survey.profile != SourceProfile::Srgb,
        }
    }

    fn pixel_bytes(self) -> u64 {
        let channels = if self.is_gray { 1 } else { 3 } + u64::from(self.has_alpha);
        channels * if self.is_deep { 2 } else { 1 }
    }

    fn pixel_format(self, extra_channels: usize) -> JxlPixelFormat {
        JxlPixelFormat {
            color_type: match (self.is_gray, self.has_alpha) {
                (true, false) => JxlColorType::Grayscale,
                (true, true) => JxlColorType::GrayscaleAlpha,
                (false, false) => JxlColorType::Rgb,
                (false, true) => JxlColorType::Rgba,
            },
            color_data_format: Some(match self.is_deep {
                false => JxlDataFormat::U8 { bit_depth: 8 },
                true => JxlDataFormat::U16 {
                    endianness: Endianness::native(),
                    bit_depth: 16,
                },
            }),
            extra_channel_format: vec![None; extra_channels],
        }
    }

    /// Returns the decoder's output as a picture.
    fn join(self, samples: &[u8], width: u32, height: u32) -> Option<DynamicImage> {
        use image::{GrayAlphaImage, GrayImage, ImageBuffer, RgbImage, RgbaImage};
        if !self.is_deep {
            let samples = samples.to_vec();
            return match (self.is_gray, self.has_alpha) {
                (true, false) => GrayImage::from_raw(width, height, samples).map(Into::into),
                (true, true) => GrayAlphaImage::from_raw(width, height, samples).map(Into::into),
                (false, false) => RgbImage::from_raw(width, height, samples).map(Into::into),
                (false, true) => RgbaImage::from_raw(width, height, samples).map(Into::into),
            };
        }
        let samples: Vec<u16> = samples
            .chunks_exact(2)
            .map(|pair| u16::from_ne_bytes([pair[0], pair[1]]))
            .collect();
        match (self.is_gray, self.has_alpha) {
            (true, false) => {
                ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageLuma16)
            }
            (true, true) => {
                ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageLumaA16)
            }
            (false, false) => {
                ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageRgb16)
            }
            (false, true) => {
                ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageRgba16)
            }
        }
    }
}

fn decode_frames(
    bytes: &[u8],
    survey: &JxlSurvey,
    layout: SampleLayout,
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> Result<(DynamicImage, SourceProfile), DecodeError> {
    let classify = |error| classify_jxl_error(&error, limits);
    let mut options = JxlDecoderOptions::default();
    options.alpha_mode = AlphaMode::Unpremultiplied;
    options.max_profile_level = ProfileLevel::Main10;
    options.sample_limit = usize::try_from(survey.samples()).ok();
    let mut decoder = JxlDecoder::new(options);
    let mut input = JxlInput::whole(bytes, deadline);
    let mut runner = JxlRunner { deadline };
    let row_bytes = u64::from(survey.width) * layout.pixel_bytes();
    let size = row_bytes * u64::from(survey.height);
    // The size is reserved, so it fits.
    let (row_bytes, size) = (row_bytes as usize, size as usize);
    let mut samples = Vec::new();
    let mut profile = SourceProfile::Srgb;
    let mut first = None;
    let pixels = survey.pixels().max(1);
    let max_frames = (MAX_FRAME_PIXELS / pixels).clamp(1, survey.whole_frames) as usize;
    let mut frames = 0;
    loop {
        let mut output = match samples.is_empty() {
            true => None,
            false => Some([JxlOutputBuffer::new(
                &mut samples,
                survey.height as usize,
                row_bytes,
            )]),
        };
        let buffers = output.as_mut().map(|output| &mut output[..]);
        let event = match decoder.process(&mut input, buffers, Some(&mut runner)) {
            Ok(event) => event,
            // A later frame is damaged; the first one is good.
            Err(_) if first.is_some() && !deadline.has_passed() => break,
            Err(error) => return Err(classify(error)),
        };
        match event {
            Event::BasicInfo => {
                decoder
                    .set_pixel_format(layout.pixel_format(survey.extra_channels))
                    .map_err(classify)?;
                if let Some(output) = decoder.output_color_profile() {
                    profile = read_profile(output)?;
                }
                samples.resize(size, 0);
            }
            Event::FrameHeader => {}
            Event::FrameComplete { has_more_frames } => {
                let image = layout
                    .join(&samples, survey.width, survey.height)
                    .ok_or_else(|| corrupt("it has fewer pixels than its header claims"))?;
                frames += 1;
                if !survey.is_animated || !is_one_color(&image, MAX_NOISE) {
                    return Ok((image, profile));
                }
                first.get_or_insert(image);
                if !has_more_frames || frames >= max_frames {
                    break;
                }
            }
            Event::NeedMoreInput { .. } | Event::Complete => break,
        }
    }
    match first {
        Some(image) => Ok((image, profile)),
        None => Err(truncated()),
    }
}

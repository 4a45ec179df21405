//! Finds the size and the frames of a JPEG XL file without decoding a pixel.

use jxl::api::{
    Event, ExtraChannel, JxlBasicInfo, JxlDecoder, JxlDecoderOptions, JxlPixelFormat, ProfileLevel,
};

use super::{
    problems::{FORMAT, classify_jxl_error, corrupt, truncated, unsupported},
    profile::read_profile,
    source::{JxlInput, JxlRunner},
};
use crate::decode::{
    animation::MAX_FRAMES, deadline::CpuDeadline, encoding::SourceProfile, limits::Limits,
    unwritten::is_unwritten_before,
};
use crate::error::DecodeError;

/// Pixels of a frame that may lie outside the picture, or that belong to no place of it (patches).
const MAX_HIDDEN_PIXELS: u64 = 1 << 16;

/// What a file states about its picture.
#[derive(Debug)]
pub(crate) struct JxlSurvey {
    /// Of the upright picture, in pixels.
    pub width: u32,
    pub height: u32,
    pub bits: u32,
    pub is_gray: bool,
    pub has_alpha: bool,
    /// Channels in addition to the colours, with alpha.
    pub extra_channels: usize,
    pub is_animated: bool,
    /// Frames that the file contains to their end, at most [`MAX_FRAMES`].
    pub whole_frames: u64,
    /// Whether frames can be drawn over other ones, which the decoder then keeps.
    pub refers_to_frames: bool,
    /// The colours of 8-bit output.
    pub profile: SourceProfile,
}

impl JxlSurvey {
    /// Reads the headers of a file and checks the size against the limits.
    ///
    /// # Errors
    /// Fails if the picture is too large, if no frame is complete, or if a still picture is not.
    pub(crate) fn read(
        bytes: &[u8],
        limits: &Limits,
        deadline: &CpuDeadline<'_>,
    ) -> Result<Self, DecodeError> {
        let classify = |error| classify_jxl_error(&error, limits);
        let mut options = JxlDecoderOptions::default();
        options.scan_frames_only = true;
        options.max_profile_level = ProfileLevel::Main10;
        let mut decoder = JxlDecoder::new(options);
        let mut input = JxlInput::whole(bytes, deadline);
        let mut runner = JxlRunner { deadline };
        // The header is given byte by byte: then the decoder has read nothing behind it.
        input.end = 0;
        let mut header = None;
        let mut whole_frames = 0;
        loop {
            match decoder.process(&mut input, None, Some(&mut runner)) {
                Ok(Event::NeedMoreInput { .. }) if input.end < bytes.len() => input.end += 1,
                Ok(Event::NeedMoreInput { .. }) => break,
                Ok(Event::BasicInfo) => {
                    let end_of_header = input.end as u64;
                    header = Some((Self::read_header(&mut decoder, limits)?, end_of_header));
                    input.end = bytes.len();
                }
                Ok(Event::FrameHeader) => {}
                Ok(Event::FrameComplete { has_more_frames }) => {
                    whole_frames += 1;
                    if !has_more_frames || whole_frames >= MAX_FRAMES {
                        break;
                    }
                }
                Ok(Event::Complete) => break,
                // What follows the first frame of an animation may be damaged.
                Err(_) if whole_frames > 0 && !deadline.has_passed() => break,
                Err(error) => return Err(classify(error)),
            }
        }
        let Some((mut survey, end_of_header)) = header else {
            return Err(truncated());
        };
        if whole_frames == 0 {
            return Err(truncated());
        }
        if let Some(end) = decoder.file_length()
            && is_unwritten_before(bytes, end)
        {
            return Err(truncated());
        }
        survey.whole_frames = whole_frames;
        survey.refers_to_frames = whole_frames > 1
            || decoder
                .scanned_frames()
                .first()
                .is_none_or(|frame| frame.file_offset > end_of_header);
        Ok(survey)
    }

    fn read_header(decoder: &mut JxlDecoder, limits: &Limits) -> Result<Self, DecodeError> {
        let classify = |error| classify_jxl_error(&error, limits);
        let Some(info) = decoder.basic_info().cloned() else {
            return Err(corrupt("its header is incomplete"));
        };
        let (width, height) = info.size;
        let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
        let (width, height) = (side(width), side(height));
        limits.check_pixels(FORMAT, width, height)?;
        let has = |kind: ExtraChannel| has_channel(&info, kind);
        if has(ExtraChannel::Black) {
            return Err(unsupported("its colours are CMYK"));
        }
        let extra_channels = info.extra_channels.len();
        decoder
            .set_pixel_format(JxlPixelFormat::rgb8(extra_channels))
            .map_err(classify)?;
        let profile = decoder.output_color_profile();
        Ok(Self {
            width,
            height,
            bits: info.bit_depth.bits_per_sample(),
            is_gray: profile.is_some_and(|profile| profile.channels() == 1),
            has_alpha: has(ExtraChannel::Alpha),
            extra_channels,
            is_animated: info.animation.is_some(),
            whole_frames: 0,
            refers_to_frames: false,
            profile: profile.map_or(Ok(SourceProfile::Srgb), read_profile)?,
        })
    }

    pub(crate) fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Returns the most samples of a frame. The decoder calculates with three colours and with at
    /// least 16 pixels per row.
    pub(crate) fn samples(&self) -> u64 {
        let pixels = u64::from(self.width.max(16)) * u64::from(self.height);
        (pixels + MAX_HIDDEN_PIXELS) * (3 + self.extra_channels as u64)
    }
}

fn has_channel(info: &JxlBasicInfo, kind: ExtraChannel) -> bool {
    info.extra_channels
        .iter()
        .any(|channel| channel.ec_type == kind)
}

//! Decodes the AV1 data of AVIF files with `re_rav1d`, a translation of dav1d to Rust.
//!
//! The units of the data are given to the decoder one by one, with a look at the deadline in between: a
//! file can contain many frames that are not shown.

mod sequence;
mod track;

#[cfg(test)]
mod tests;

use heic_rs::{ChromaFormat, hevc::Frame};
use re_rav1d::dav1d::{
    Decoder, Error as Av1Error, Picture, PixelLayout, PlanarImageComponent, Settings,
};

use self::sequence::{Av1Sequence, Av1Units};
pub(super) use self::track::list_frames;
use crate::decode::{deadline::CpuDeadline, limits::Limits};
use crate::error::DecodeError;

const FORMAT: &str = "avif";

/// Frames that a decoder keeps for later ones, with the current one.
const KEPT_FRAMES: u64 = 9;

/// The largest sequence header of an item.
#[derive(Debug, Clone, Copy)]
pub(super) struct Av1Claim {
    pub sequence: Av1Sequence,
    /// Bytes per pixel that the decoder needs next to the planes that it returns.
    pub working_bytes: u64,
}

/// Checks the sizes in all sequence headers of an item against the limits.
pub(super) fn check_sequence_headers(
    data: &[u8],
    plane_bytes: impl Fn(u64) -> u64,
    limits: &Limits,
) -> Result<Av1Claim, DecodeError> {
    let mut largest: Option<Av1Sequence> = None;
    for header in Av1Units::new(data).filter_map(|unit| Av1Sequence::parse_unit(&unit)) {
        let header = header.ok_or_else(|| corrupt("its sequence header is damaged"))?;
        let area = |header: &Av1Sequence| header.parameters.width * header.parameters.height;
        let side = |side: u64| u32::try_from(side).unwrap_or(u32::MAX);
        limits.check_pixels(
            FORMAT,
            side(header.parameters.width),
            side(header.parameters.height),
        )?;
        if largest.is_none_or(|known| area(&known) < area(&header)) {
            largest = Some(header);
        }
    }
    let sequence = largest.ok_or_else(|| corrupt("it has no sequence header"))?;
    let frames = if sequence.is_still { 1 } else { KEPT_FRAMES };
    Ok(Av1Claim {
        sequence,
        // The frames, and of each pixel the modes of its block and what the filters keep.
        working_bytes: frames * plane_bytes(sequence.parameters.chroma_format) + 8,
    })
}

/// Decodes an item to the planes of its last picture.
pub(super) fn decode_av1(
    data: &[u8],
    claim: &Av1Claim,
    deadline: &CpuDeadline<'_>,
) -> Result<Frame, DecodeError> {
    let frame = Av1Decoder::open(claim, deadline)?.decode(data)?;
    frame.ok_or_else(truncated)
}

/// Decodes pictures, which can depend on earlier ones.
pub(super) struct Av1Decoder<'a> {
    decoder: Decoder,
    deadline: &'a CpuDeadline<'a>,
}

impl<'a> Av1Decoder<'a> {
    pub(super) fn open(
        claim: &Av1Claim,
        deadline: &'a CpuDeadline<'a>,
    ) -> Result<Self, DecodeError> {
        let parameters = claim.sequence.parameters;
        let pixels = parameters.width * parameters.height;
        let mut settings = Settings::new();
        // The time of its threads would not be measured.
        settings.set_n_threads(1);
        settings.set_max_frame_delay(1);
        settings.set_all_layers(false);
        settings.set_frame_size_limit(u32::try_from(pixels).unwrap_or(u32::MAX));
        let decoder = Decoder::with_settings(&settings).map_err(classify_av1_error)?;
        Ok(Self { decoder, deadline })
    }

    /// Returns the planes of the last picture in the data.
    pub(super) fn decode(&mut self, data: &[u8]) -> Result<Option<Frame>, DecodeError> {
        let mut picture = None;
        for unit in Av1Units::new(data) {
            self.deadline.check()?;
            let mut sent = self
                .decoder
                .send_data(unit.bytes.to_vec(), None, None, None);
            self.take_pictures(&mut picture)?;
            while let Err(error) = sent {
                if !error.is_again() {
                    return Err(classify_av1_error(error));
                }
                sent = self.decoder.send_pending_data();
                self.take_pictures(&mut picture)?;
            }
        }
        picture.as_ref().map(copy_planes).transpose()
    }

    /// Takes pictures from the decoder until it needs more data.
    fn take_pictures(&mut self, last: &mut Option<Picture>) -> Result<(), DecodeError> {
        loop {
            self.deadline.check()?;
            match self.decoder.get_picture() {
                Ok(picture) => *last = Some(picture),
                Err(error) if error.is_again() => return Ok(()),
                Err(error) => return Err(classify_av1_error(error)),
            }
        }
    }
}

fn copy_planes(picture: &Picture) -> Result<Frame, DecodeError> {
    let chroma = match picture.pixel_layout() {
        PixelLayout::I400 => ChromaFormat::Monochrome,
        PixelLayout::I420 => ChromaFormat::Yuv420,
        PixelLayout::I422 => ChromaFormat::Yuv422,
        PixelLayout::I444 => ChromaFormat::Yuv444,
    };
    let (width, height) = (picture.width(), picture.height());
    let (chroma_width, chroma_height) = chroma.chroma_size(width, height);
    let copy = |component, (width, height): (u32, u32)| match width {
        0 => Ok(Vec::new()),
        _ => copy_plane(picture, component, width as usize, height as usize),
    };
    let frame = Frame {
        width,
        height,
        bit_depth: u8::try_from(picture.bit_depth()).unwrap_or(8),
        chroma,
        y: copy(PlanarImageComponent::Y, (width, height))?,
        cb: copy(PlanarImageComponent::U, (chroma_width, chroma_height))?,
        cr: copy(PlanarImageComponent::V, (chroma_width, chroma_height))?,
        y_stride: width,
        c_stride: chroma_width,
    };
    frame
        .validate()
        .map_err(|error| corrupt(&error.to_string()))?;
    Ok(frame)
}

fn copy_plane(
    picture: &Picture,
    component: PlanarImageComponent,
    width: usize,
    height: usize,
) -> Result<Vec<u16>, DecodeError> {
    let plane = picture.plane(component);
    let stride = picture.stride(component) as usize;
    let sample_bytes = if picture.bit_depth() > 8 { 2 } else { 1 };
    let mut samples = Vec::with_capacity(width * height);
    for row in plane.chunks_exact(stride.max(1)).take(height) {
        let row = row
            .get(..width * sample_bytes)
            .ok_or_else(|| corrupt("a row is shorter than the picture"))?;
        match sample_bytes {
            1 => samples.extend(row.iter().map(|sample| u16::from(*sample))),
            _ => samples.extend(
                row.chunks_exact(2)
                    .map(|sample| u16::from_ne_bytes([sample[0], sample[1]])),
            ),
        }
    }
    Ok(samples)
}

fn corrupt(reason: &str) -> DecodeError {
    DecodeError::Corrupt {
        format: FORMAT,
        reason: reason.to_owned(),
    }
}

fn truncated() -> DecodeError {
    DecodeError::Truncated {
        format: FORMAT,
        reason: "the AV1 data ends before its picture".to_owned(),
    }
}

fn classify_av1_error(error: Av1Error) -> DecodeError {
    match error {
        Av1Error::UnsupportedBitstream => DecodeError::UnsupportedFeature {
            format: FORMAT,
            reason: "its AV1 data has a profile that is not supported".to_owned(),
        },
        Av1Error::InvalidArgument => corrupt("its AV1 data violates the standard"),
        error => corrupt(&error.to_string()),
    }
}

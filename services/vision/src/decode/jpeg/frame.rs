//! Geometry of a JPEG: components, their sampling, and the blocks of a scan.

use crate::decode::limits::Limits;
use crate::error::DecodeError;

pub(super) const FORMAT: &str = "jpeg";

/// A colour component of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameComponent {
    pub id: u8,
    /// Horizontal and vertical sampling factor, 1 to 4.
    pub horizontal: usize,
    pub vertical: usize,
    pub quantization: usize,
}

/// The frame header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JpegFrame {
    pub width: usize,
    pub height: usize,
    pub is_progressive: bool,
    pub components: Vec<FrameComponent>,
    pub max_horizontal: usize,
    pub max_vertical: usize,
}

/// The header of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScanHeader {
    /// Index of the component, its table of DC codes and its table of AC codes.
    pub components: Vec<(usize, usize, usize)>,
    /// First and last coefficient, in zigzag order.
    pub first: usize,
    pub last: usize,
    /// Successive approximation: the bit of the scan before, and the lowest bit of this one.
    pub high: u8,
    pub low: u8,
}

fn corrupt(reason: &str) -> DecodeError {
    DecodeError::Corrupt {
        format: FORMAT,
        reason: reason.to_owned(),
    }
}

impl JpegFrame {
    /// Parses the body of a frame header of the sequential or progressive process.
    pub(super) fn parse(marker: u8, body: &[u8]) -> Result<Self, DecodeError> {
        let &[_, h1, h0, w1, w0, count, ref rest @ ..] = body else {
            return Err(corrupt("its frame header is too short"));
        };
        let mut components = Vec::new();
        for fields in rest.chunks_exact(3).take(usize::from(count)) {
            components.push(FrameComponent {
                id: fields[0],
                horizontal: usize::from(fields[1] >> 4),
                vertical: usize::from(fields[1] & 15),
                quantization: usize::from(fields[2] & 3),
            });
        }
        let is_valid = |factor: usize| (1..=4).contains(&factor);
        if components.len() != usize::from(count)
            || !components
                .iter()
                .all(|one| is_valid(one.horizontal) && is_valid(one.vertical))
        {
            return Err(corrupt("its frame header names no valid components"));
        }
        if !matches!(components.len(), 1 | 3 | 4) {
            return Err(DecodeError::UnsupportedFeature {
                format: FORMAT,
                reason: format!("it has {count} colour components"),
            });
        }
        // The factors of a single component have no meaning.
        if let [only] = &mut components[..] {
            (only.horizontal, only.vertical) = (1, 1);
        }
        let largest =
            |factor: fn(&FrameComponent) -> usize| components.iter().map(factor).max().unwrap_or(1);
        Ok(Self {
            width: usize::from(u16::from_be_bytes([w1, w0])),
            height: usize::from(u16::from_be_bytes([h1, h0])),
            is_progressive: marker & 0x0f == 2,
            max_horizontal: largest(|one| one.horizontal),
            max_vertical: largest(|one| one.vertical),
            components,
        })
    }

    /// Returns the units of an interleaved scan, across and down.
    pub(super) fn units(&self) -> (usize, usize) {
        (
            self.width.div_ceil(8 * self.max_horizontal),
            self.height.div_ceil(8 * self.max_vertical),
        )
    }

    /// Returns the samples of a component, across and down.
    pub(super) fn component_size(&self, component: &FrameComponent) -> (usize, usize) {
        (
            (self.width * component.horizontal).div_ceil(self.max_horizontal),
            (self.height * component.vertical).div_ceil(self.max_vertical),
        )
    }

    /// Returns the blocks that are stored for a component, across and down: whole units.
    pub(super) fn stored_blocks(&self, component: &FrameComponent) -> (usize, usize) {
        let (across, down) = self.units();
        (across * component.horizontal, down * component.vertical)
    }

    /// Returns the units of a scan, across and down. A scan of one component has a block per unit,
    /// and only the blocks that the component's samples need.
    pub(super) fn scan_units(&self, scan: &ScanHeader) -> (usize, usize) {
        match &scan.components[..] {
            [(index, _, _)] => {
                let (width, height) = self.component_size(&self.components[*index]);
                (width.div_ceil(8), height.div_ceil(8))
            }
            _ => self.units(),
        }
    }

    /// Returns whether both fast decoders sample this frame's chroma right: gray, or chroma of the
    /// size of luma or half of it in either direction. `tests.rs` compares all others.
    pub(super) fn has_usual_sampling(&self) -> bool {
        let [luma, chroma @ ..] = &self.components[..] else {
            return false;
        };
        let factors = |one: &FrameComponent| (one.horizontal, one.vertical);
        matches!(factors(luma), (1 | 2, 1 | 2))
            && chroma.iter().enumerate().all(|(index, one)| {
                // The black of a CMYK image has the size of its first component.
                factors(one) == (1, 1) || (index == 2 && factors(one) == factors(luma))
            })
    }

    /// Rejects a frame that is too large at 1/`reduction` of its size.
    pub(super) fn check_reduced_size(
        &self,
        reduction: usize,
        limits: &Limits,
    ) -> Result<(), DecodeError> {
        let side = |side: usize| u32::try_from(side.div_ceil(reduction)).unwrap_or(u32::MAX);
        limits.check_pixels(FORMAT, side(self.width), side(self.height))
    }
}

impl ScanHeader {
    /// Parses the body of a scan's header.
    pub(super) fn parse(body: &[u8], frame: &JpegFrame) -> Result<Self, DecodeError> {
        let invalid = || corrupt("the header of a scan is invalid");
        let (&count, rest) = body.split_first().ok_or_else(invalid)?;
        let count = usize::from(count);
        let fields = rest.get(..2 * count).ok_or_else(invalid)?;
        let &[first, last, approximation, ..] = &rest[2 * count..] else {
            return Err(invalid());
        };
        let mut components = Vec::new();
        for pair in fields.chunks_exact(2) {
            let is_meant = |one: &FrameComponent| one.id == pair[0];
            let index = frame
                .components
                .iter()
                .position(is_meant)
                .ok_or_else(invalid)?;
            components.push((
                index,
                usize::from(pair[1] >> 4 & 3),
                usize::from(pair[1] & 3),
            ));
        }
        let (first, last) = match frame.is_progressive {
            true => (usize::from(first), usize::from(last)),
            false => (0, 63),
        };
        let (high, low) = match frame.is_progressive {
            true => (approximation >> 4, approximation & 15),
            false => (0, 0),
        };
        let is_band = first == 0 && (last == 0 || !frame.is_progressive)
            || first > 0 && components.len() == 1;
        if components.is_empty() || first > last || last > 63 || low > 13 || !is_band {
            return Err(invalid());
        }
        Ok(Self {
            components,
            first,
            last,
            high,
            low,
        })
    }
}

//! Reads the units of AV1 data (AV1 bitstream specification, version 1.0.0 with errata 1, section 5) and
//! what we must know from a sequence header: the size that a decoder allocates, and how YCbCr becomes
//! RGB.

use crate::decode::heif::parameters::{ParameterBits, SequenceParameters, VideoSignal};

/// The type of a unit that is a sequence header.
const SEQUENCE_HEADER: u8 = 1;

/// "Unspecified" in each table of ITU-T H.273.
const UNSPECIFIED: u16 = 2;

/// Iterates over the units (OBUs) of an item. A unit that is cut has the bytes that are left.
pub(crate) struct Av1Units<'b> {
    rest: &'b [u8],
}

/// A unit with its header, and its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Av1Unit<'b> {
    pub bytes: &'b [u8],
    pub kind: u8,
    pub content: &'b [u8],
}

impl<'b> Av1Units<'b> {
    pub(crate) fn new(data: &'b [u8]) -> Self {
        Self { rest: data }
    }
}

impl<'b> Iterator for Av1Units<'b> {
    type Item = Av1Unit<'b>;

    fn next(&mut self) -> Option<Self::Item> {
        let header = *self.rest.first()?;
        let mut begin = 1 + usize::from(header >> 2 & 1);
        let mut length = self.rest.len().saturating_sub(begin);
        if header >> 1 & 1 == 1 {
            let (stated, bytes) = read_leb128(self.rest.get(begin..)?)?;
            begin += bytes;
            length = usize::try_from(stated).unwrap_or(usize::MAX);
        }
        let end = begin.saturating_add(length).min(self.rest.len());
        let unit = Av1Unit {
            bytes: &self.rest[..end],
            kind: header >> 3 & 0xf,
            content: self.rest.get(begin..end)?,
        };
        self.rest = &self.rest[end..];
        Some(unit)
    }
}

/// Returns a number of at most eight groups of seven bits, and how many bytes it has.
fn read_leb128(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(8).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

/// What a sequence header says about pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Av1Sequence {
    pub parameters: SequenceParameters,
    /// Whether all data is a single frame.
    pub is_still: bool,
}

impl Av1Sequence {
    /// Parses a unit if it is a sequence header. Returns an inner `None` if it is damaged.
    pub(crate) fn parse_unit(unit: &Av1Unit<'_>) -> Option<Option<Self>> {
        (unit.kind == SEQUENCE_HEADER).then(|| Self::parse(unit.content))
    }

    fn parse(content: &[u8]) -> Option<Self> {
        let mut bits = ParameterBits::new(content);
        let profile = bits.read(3)?;
        let is_still = bits.read_flag()?;
        let is_reduced = bits.read_flag()?;
        match is_reduced {
            true => bits.skip(5)?,
            false => skip_operating_points(&mut bits)?,
        }
        let width_bits = bits.read(4)? as usize + 1;
        let height_bits = bits.read(4)? as usize + 1;
        let width = bits.read(width_bits)? + 1;
        let height = bits.read(height_bits)? + 1;
        skip_tools(&mut bits, is_reduced)?;
        let (chroma_format, signal) = read_colors(&mut bits, profile)?;
        Some(Self {
            parameters: SequenceParameters {
                width,
                height,
                chroma_format,
                signal: Some(signal),
            },
            is_still,
        })
    }
}

/// Skips timing, decoder models and operating points.
fn skip_operating_points(bits: &mut ParameterBits<'_>) -> Option<()> {
    let mut delay_bits = None;
    if bits.read_flag()? {
        bits.skip(64)?;
        if bits.read_flag()? {
            bits.read_golomb()?;
        }
        if bits.read_flag()? {
            delay_bits = Some(bits.read(5)? as usize + 1);
            bits.skip(32 + 5 + 5)?;
        }
    }
    let has_display_delays = bits.read_flag()?;
    for _ in 0..=bits.read(5)? {
        bits.skip(12)?;
        if bits.read(5)? > 7 {
            bits.skip(1)?;
        }
        if let Some(delay_bits) = delay_bits
            && bits.read_flag()?
        {
            bits.skip(2 * delay_bits + 1)?;
        }
        if has_display_delays && bits.read_flag()? {
            bits.skip(4)?;
        }
    }
    Some(())
}

/// Skips the flags of coding tools.
fn skip_tools(bits: &mut ParameterBits<'_>, is_reduced: bool) -> Option<()> {
    if !is_reduced && bits.read_flag()? {
        bits.skip(7)?;
    }
    bits.skip(3)?;
    if !is_reduced {
        bits.skip(4)?;
        let has_order_hint = bits.read_flag()?;
        if has_order_hint {
            bits.skip(2)?;
        }
        let forces_screen_tools = match bits.read_flag()? {
            true => true,
            false => bits.read_flag()?,
        };
        if forces_screen_tools && !bits.read_flag()? {
            bits.skip(1)?;
        }
        if has_order_hint {
            bits.skip(3)?;
        }
    }
    bits.skip(3)
}

/// Reads `color_config` (section 5.5.2): the chroma format in the numbers of HEVC, and the colours.
fn read_colors(bits: &mut ParameterBits<'_>, profile: u64) -> Option<(u64, VideoSignal)> {
    let is_deep = bits.read_flag()?;
    let has_twelve_bits = profile == 2 && is_deep && bits.read_flag()?;
    let is_gray = profile != 1 && bits.read_flag()?;
    let [primaries, transfer, matrix] = match bits.read_flag()? {
        true => [
            bits.read(8)? as u16,
            bits.read(8)? as u16,
            bits.read(8)? as u16,
        ],
        false => [UNSPECIFIED; 3],
    };
    let is_plain_rgb = (primaries, transfer, matrix) == (1, 13, 0);
    let is_full_range = (is_plain_rgb && !is_gray) || bits.read_flag()?;
    let chroma_format = match profile {
        _ if is_gray => 0,
        _ if is_plain_rgb => 3,
        0 => 1,
        1 => 3,
        _ if !has_twelve_bits => 2,
        _ => match (bits.read_flag()?, bits.read_flag()) {
            (false, _) => 3,
            (true, Some(true)) => 1,
            (true, _) => 2,
        },
    };
    let signal = VideoSignal {
        is_full_range,
        primaries,
        transfer,
        matrix,
    };
    Some((chroma_format, signal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_headers_end() {
        for length in 0..40 {
            for byte in [0, 0x0a, 0x55, 0xff] {
                let data = vec![byte; length];
                Av1Sequence::parse(&data);
                let units = Av1Units::new(&data);
                assert!(units.map(|unit| unit.bytes.len()).sum::<usize>() <= length);
            }
        }
    }

    #[test]
    fn units_are_separated() {
        // A delimiter, a header of three bytes, and a frame that is cut.
        let data = [0x12, 0, 0x0a, 3, 1, 2, 3, 0x32, 9, 7];
        let units: Vec<_> = Av1Units::new(&data)
            .map(|unit| (unit.kind, unit.content))
            .collect();
        assert_eq!(
            units,
            [(2, &data[2..2]), (1, &data[4..7]), (6, &data[9..10])]
        );
    }
}

//! Reads what we must know from a sequence parameter set of HEVC (ITU-T H.265, section 7.3.2.2): the
//! size that a decoder allocates, which may be far more than the container states, and how YCbCr
//! becomes RGB, which phones state nowhere else.

/// What a sequence parameter set says about pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SequenceParameters {
    /// Of the whole coded picture, before its window is cut out.
    pub width: u64,
    pub height: u64,
    /// 0 gray, 1 4:2:0, 2 4:2:2, 3 4:4:4.
    pub chroma_format: u64,
    pub signal: Option<VideoSignal>,
}

/// The colour description in a sequence parameter set, with the numbers of ITU-T H.273.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VideoSignal {
    pub is_full_range: bool,
    pub primaries: u16,
    pub transfer: u16,
    pub matrix: u16,
}

/// 2 means "unspecified" in each table.
const UNSPECIFIED: u16 = 2;

impl SequenceParameters {
    /// Parses a NAL unit. Returns `None` if it is too short or its size is damaged; a part behind the
    /// size that is damaged only hides the colour description.
    pub(crate) fn parse(unit: &[u8]) -> Option<Self> {
        let bytes = remove_emulation_prevention(unit.get(2..)?);
        let mut bits = ParameterBits::new(&bytes);
        bits.skip(4)?;
        let sub_layers = bits.read(3)?;
        bits.skip(1)?;
        skip_profile(&mut bits, sub_layers)?;
        bits.read_golomb()?;
        let chroma_format = bits.read_golomb()?;
        if chroma_format == 3 {
            bits.skip(1)?;
        }
        let mut parameters = Self {
            width: bits.read_golomb()?,
            height: bits.read_golomb()?,
            chroma_format,
            signal: None,
        };
        parameters.signal = read_signal(&mut bits, sub_layers);
        Some(parameters)
    }
}

/// Removes the bytes that keep a start code from appearing in the data.
fn remove_emulation_prevention(unit: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(unit.len());
    let mut zeros = 0;
    for byte in unit {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        bytes.push(*byte);
    }
    bytes
}

/// Reads the bits of a set of parameters, the highest of each byte first.
pub(crate) struct ParameterBits<'b> {
    bytes: &'b [u8],
    position: usize,
}

impl<'b> ParameterBits<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    pub(crate) fn read(&mut self, bits: usize) -> Option<u64> {
        let mut value = 0;
        for _ in 0..bits {
            let byte = self.bytes.get(self.position / 8)?;
            value = value << 1 | u64::from(byte >> (7 - self.position % 8) & 1);
            self.position += 1;
        }
        Some(value)
    }

    pub(crate) fn read_flag(&mut self) -> Option<bool> {
        Some(self.read(1)? == 1)
    }

    pub(crate) fn skip(&mut self, bits: usize) -> Option<()> {
        self.position += bits;
        (self.position <= self.bytes.len() * 8).then_some(())
    }

    /// Reads an Exp-Golomb code (section 9.2); of a signed one, the code.
    pub(crate) fn read_golomb(&mut self) -> Option<u64> {
        let mut zeros = 0;
        while !self.read_flag()? {
            zeros += 1;
            if zeros > 32 {
                return None;
            }
        }
        Some((1 << zeros) - 1 + self.read(zeros)?)
    }
}

/// Skips `profile_tier_level` (section 7.3.3).
fn skip_profile(bits: &mut ParameterBits<'_>, sub_layers: u64) -> Option<()> {
    bits.skip(88 + 8)?;
    let mut present = Vec::new();
    for _ in 0..sub_layers {
        present.push((bits.read_flag()?, bits.read_flag()?));
    }
    if sub_layers > 0 {
        bits.skip(2 * (8 - sub_layers as usize))?;
    }
    for (has_profile, has_level) in present {
        bits.skip(if has_profile { 88 } else { 0 } + if has_level { 8 } else { 0 })?;
    }
    Some(())
}

/// Reads on to the colour description in the usability information (annex E).
fn read_signal(bits: &mut ParameterBits<'_>, sub_layers: u64) -> Option<VideoSignal> {
    if bits.read_flag()? {
        (0..4).try_for_each(|_| bits.read_golomb().map(drop))?;
    }
    bits.read_golomb()?;
    bits.read_golomb()?;
    let order_bits = bits.read_golomb()?.checked_add(4)?;
    let first = if bits.read_flag()? { 0 } else { sub_layers };
    for _ in first..=sub_layers {
        (0..3).try_for_each(|_| bits.read_golomb().map(drop))?;
    }
    (0..6).try_for_each(|_| bits.read_golomb().map(drop))?;
    let has_scaling_lists = bits.read_flag()?;
    if has_scaling_lists && bits.read_flag()? {
        skip_scaling_lists(bits)?;
    }
    bits.skip(2)?;
    if bits.read_flag()? {
        bits.skip(8)?;
        bits.read_golomb()?;
        bits.read_golomb()?;
        bits.skip(1)?;
    }
    skip_reference_sets(bits)?;
    if bits.read_flag()? {
        for _ in 0..bits.read_golomb()? {
            bits.skip(usize::try_from(order_bits).ok()? + 1)?;
        }
    }
    bits.skip(2)?;
    if !bits.read_flag()? {
        return None;
    }
    if bits.read_flag()? && bits.read(8)? == 255 {
        bits.skip(32)?;
    }
    if bits.read_flag()? {
        bits.skip(1)?;
    }
    if !bits.read_flag()? {
        return None;
    }
    bits.skip(3)?;
    let is_full_range = bits.read_flag()?;
    let [primaries, transfer, matrix] = match bits.read_flag()? {
        true => [
            bits.read(8)? as u16,
            bits.read(8)? as u16,
            bits.read(8)? as u16,
        ],
        false => [UNSPECIFIED; 3],
    };
    Some(VideoSignal {
        is_full_range,
        primaries,
        transfer,
        matrix,
    })
}

/// Skips `scaling_list_data` (section 7.3.4).
fn skip_scaling_lists(bits: &mut ParameterBits<'_>) -> Option<()> {
    for size in 0..4 {
        let step = if size == 3 { 3 } else { 1 };
        for _ in (0..6).step_by(step) {
            if !bits.read_flag()? {
                bits.read_golomb()?;
                continue;
            }
            let coefficients = if size == 0 { 16 } else { 64 };
            let codes = coefficients + usize::from(size > 1);
            (0..codes).try_for_each(|_| bits.read_golomb().map(drop))?;
        }
    }
    Some(())
}

/// Skips the short-term reference picture sets (section 7.3.7).
fn skip_reference_sets(bits: &mut ParameterBits<'_>) -> Option<()> {
    let sets = bits.read_golomb()?;
    if sets > 64 {
        return None;
    }
    let mut previous = 0;
    for index in 0..sets {
        if index > 0 && bits.read_flag()? {
            bits.skip(1)?;
            bits.read_golomb()?;
            let mut kept = 0;
            for _ in 0..=previous {
                // A picture is used, or at least kept.
                if bits.read_flag()? || bits.read_flag()? {
                    kept += 1;
                }
            }
            previous = kept;
            continue;
        }
        let pictures = bits.read_golomb()?.checked_add(bits.read_golomb()?)?;
        if pictures > 32 {
            return None;
        }
        for _ in 0..pictures {
            bits.read_golomb()?;
            bits.skip(1)?;
        }
        previous = pictures;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_sets_end() {
        for length in 0..40 {
            SequenceParameters::parse(&vec![0; length]);
            SequenceParameters::parse(&vec![0xff; length]);
            SequenceParameters::parse(&vec![0x55; length]);
        }
    }
}

//! Decodes the coefficients of one block of 8 × 8 samples (ITU T.81, F.2.2 and G.2).

use super::huffman::{BitReader, CodeTable};

/// Coefficients of a block, in natural order.
pub(super) type CoefficientBlock = [i16; 64];

/// The position of each coefficient in zigzag order.
pub(super) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

fn position(index: usize) -> usize {
    usize::from(ZIGZAG[index & 63])
}

/// Decodes a block of a sequential scan.
pub(super) fn decode_sequential(
    bits: &mut BitReader<'_>,
    (dc, ac): (&CodeTable, &CodeTable),
    prediction: &mut i32,
    block: &mut CoefficientBlock,
) {
    decode_first_dc(bits, dc, prediction, 0, block);
    let mut index = 1;
    while index < 64 {
        let symbol = bits.read_symbol(ac);
        let (run, category) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        match (run, category) {
            (15, 0) => index += 16,
            (_, 0) => return,
            _ => {
                index += run;
                let value = bits.read_signed(category);
                if index < 64 {
                    block[position(index)] = value as i16;
                }
                index += 1;
            }
        }
    }
}

/// Decodes the first bits of a DC coefficient.
pub(super) fn decode_first_dc(
    bits: &mut BitReader<'_>,
    dc: &CodeTable,
    prediction: &mut i32,
    low: u8,
    block: &mut CoefficientBlock,
) {
    let category = u32::from(bits.read_symbol(dc)).min(16);
    *prediction = prediction.wrapping_add(bits.read_signed(category));
    block[0] = prediction.wrapping_shl(low.into()) as i16;
}

/// Decodes one more bit of a DC coefficient.
pub(super) fn refine_dc(bits: &mut BitReader<'_>, low: u8, block: &mut CoefficientBlock) {
    block[0] |= (bits.read_bits(1) as i16) << low;
}

/// The band of coefficients of a progressive scan, and the blocks without further ones.
#[derive(Debug)]
pub(super) struct SpectralBand {
    pub first: usize,
    pub last: usize,
    pub low: u8,
    /// Blocks that follow with no new coefficient in the band.
    pub empty_blocks: u32,
}

impl SpectralBand {
    /// Decodes the first bits of the band.
    pub(super) fn decode_first(
        &mut self,
        bits: &mut BitReader<'_>,
        ac: &CodeTable,
        block: &mut CoefficientBlock,
    ) {
        if self.empty_blocks > 0 {
            self.empty_blocks -= 1;
            return;
        }
        let mut index = self.first;
        while index <= self.last {
            let symbol = bits.read_symbol(ac);
            let (run, category) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            match (run, category) {
                (15, 0) => index += 16,
                (run, 0) => {
                    self.empty_blocks = (1 << run) - 1 + bits.read_bits(run as u32);
                    return;
                }
                _ => {
                    index += run;
                    let value = bits.read_signed(category);
                    if index <= self.last {
                        block[position(index)] = (value << self.low) as i16;
                    }
                    index += 1;
                }
            }
        }
    }

    /// Decodes one more bit of the band.
    pub(super) fn refine(
        &mut self,
        bits: &mut BitReader<'_>,
        ac: &CodeTable,
        block: &mut CoefficientBlock,
    ) {
        let bit = 1_i16 << self.low;
        let mut index = self.first;
        if self.empty_blocks == 0 {
            while index <= self.last {
                let symbol = bits.read_symbol(ac);
                let run = usize::from(symbol >> 4);
                let mut value = 0;
                if symbol & 15 == 0 {
                    if run < 15 {
                        self.empty_blocks = (1 << run) + bits.read_bits(run as u32);
                        break;
                    }
                } else {
                    value = if bits.read_bits(1) == 1 { bit } else { -bit };
                }
                index = self.refine_until(bits, block, index, run);
                if value != 0 && index <= self.last {
                    block[position(index)] = value;
                }
                index += 1;
            }
        }
        if self.empty_blocks > 0 {
            self.refine_until(bits, block, index, usize::MAX);
            self.empty_blocks -= 1;
        }
    }

    /// Refines coefficients that are not zero, until `zeros` zeros were passed and another is reached.
    fn refine_until(
        &self,
        bits: &mut BitReader<'_>,
        block: &mut CoefficientBlock,
        mut index: usize,
        mut zeros: usize,
    ) -> usize {
        let bit = 1_i16 << self.low;
        while index <= self.last {
            let coefficient = &mut block[position(index)];
            if *coefficient == 0 {
                if zeros == 0 {
                    break;
                }
                zeros -= 1;
            } else if bits.read_bits(1) == 1 && *coefficient & bit == 0 {
                *coefficient =
                    coefficient.saturating_add(if *coefficient > 0 { bit } else { -bit });
            }
            index += 1;
        }
        index
    }
}

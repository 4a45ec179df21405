//! Huffman codes and bits of compressed JPEG data.

use super::frame::FORMAT;
use crate::error::DecodeError;

/// Bits that the lookup table resolves at once.
const LOOKUP_BITS: u32 = 9;

/// A table of Huffman codes (ITU T.81, annexes C and F.2.2.3).
#[derive(Debug, Clone)]
pub(super) struct CodeTable {
    /// Symbol and length of the code that begins with these bits; length 0 means a longer code.
    lookup: Vec<(u8, u8)>,
    /// Per length: the first code after the last one of this length, shifted to 16 bits.
    limits: [u32; 17],
    /// Per length: what to add to a code to get the index of its symbol.
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

impl CodeTable {
    /// Builds a table from the number of codes of each length and the symbols in order.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Result<Self, DecodeError> {
        let invalid = || DecodeError::Corrupt {
            format: FORMAT,
            reason: "a table of codes is invalid".to_owned(),
        };
        let mut table = Self {
            lookup: vec![(0, 0); 1 << LOOKUP_BITS],
            limits: [0; 17],
            offsets: [0; 17],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut index) = (0_u32, 0_usize);
        for length in 1..=16_u32 {
            let count = usize::from(counts[length as usize - 1]);
            table.offsets[length as usize] = index as i32 - code as i32;
            for _ in 0..count {
                if code >> length != 0 {
                    return Err(invalid());
                }
                let symbol = *symbols.get(index).ok_or_else(invalid)?;
                if length <= LOOKUP_BITS {
                    let begin = (code << (LOOKUP_BITS - length)) as usize;
                    let end = begin + (1 << (LOOKUP_BITS - length));
                    table.lookup[begin..end].fill((symbol, length as u8));
                }
                code += 1;
                index += 1;
            }
            table.limits[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Ok(table)
    }
}

/// Reads the bits of one scan. Stops at markers; after the end, all bits are zero.
#[derive(Debug)]
pub(super) struct BitReader<'a> {
    data: &'a [u8],
    offset: usize,
    /// The next bits, beginning at the highest one.
    buffer: u64,
    buffered: u32,
    is_exhausted: bool,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self {
            data,
            offset: 0,
            buffer: 0,
            buffered: 0,
            is_exhausted: false,
        }
    }

    /// Returns whether more bits were read than there are before the next marker.
    pub(super) fn is_exhausted(&self) -> bool {
        self.is_exhausted
    }

    /// Returns the bytes that nothing has read.
    pub(super) fn unread_bytes(&self) -> usize {
        self.data.len() - self.offset + self.buffered as usize / 8
    }

    fn fill(&mut self) {
        while self.buffered <= 56 {
            let byte = match self.data.get(self.offset..) {
                Some([0xff, 0, ..]) => {
                    self.offset += 2;
                    0xff
                }
                None | Some([] | [0xff, ..]) => return,
                Some([byte, ..]) => {
                    self.offset += 1;
                    *byte
                }
            };
            self.buffer |= u64::from(byte) << (56 - self.buffered);
            self.buffered += 8;
        }
    }

    fn drop_bits(&mut self, count: u32) {
        match self.buffered.checked_sub(count) {
            Some(remaining) => {
                self.buffer <<= count;
                self.buffered = remaining;
            }
            None => {
                (self.buffer, self.buffered) = (0, 0);
                self.is_exhausted = true;
            }
        }
    }

    /// Reads up to 16 bits.
    pub(super) fn read_bits(&mut self, count: u32) -> u32 {
        if count == 0 {
            return 0;
        }
        if self.buffered < count {
            self.fill();
        }
        let bits = (self.buffer >> (64 - count)) as u32;
        self.drop_bits(count);
        bits
    }

    /// Reads a coefficient or difference of `category` bits (ITU T.81, F.2.2.1).
    pub(super) fn read_signed(&mut self, category: u32) -> i32 {
        let bits = self.read_bits(category) as i32;
        match category {
            0 => 0,
            category if bits < 1 << (category - 1) => bits - (1 << category) + 1,
            _ => bits,
        }
    }

    /// Reads a symbol. Like libjpeg, returns 0 for bits that are no code.
    pub(super) fn read_symbol(&mut self, table: &CodeTable) -> u8 {
        if self.buffered < 16 {
            self.fill();
        }
        let (symbol, length) = table.lookup[(self.buffer >> (64 - LOOKUP_BITS)) as usize];
        if length > 0 {
            self.drop_bits(length.into());
            return symbol;
        }
        let bits = (self.buffer >> 48) as u32;
        for length in LOOKUP_BITS + 1..=16 {
            if bits < table.limits[length as usize] {
                self.drop_bits(length);
                let index = (bits >> (16 - length)) as i32 + table.offsets[length as usize];
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                return table.symbols.get(index).copied().unwrap_or(0);
            }
        }
        self.drop_bits(16);
        0
    }

    /// Skips to the next restart marker and returns its number.
    pub(super) fn skip_to_restart(&mut self) -> Option<u8> {
        (self.buffer, self.buffered) = (0, 0);
        while let Some(found) = memchr::memchr(0xff, self.data.get(self.offset..)?) {
            self.offset += found + 1;
            if let Some(marker @ 0xd0..=0xd7) = self.data.get(self.offset) {
                self.offset += 1;
                self.is_exhausted = false;
                return Some(marker - 0xd0);
            }
        }
        self.offset = self.data.len();
        None
    }
}

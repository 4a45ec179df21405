//! Decodes rows that are compressed as facsimile machines do: modified Huffman, ITU-T T.4 (group 3,
//! one- and two-dimensional) and T.6 (group 4).
//!
//! The crate `fax` has the code tables. Its decoders need an end-of-line mark that TIFF files leave
//! out and lack two-dimensional group 3, so the rows are decoded here.

use fax::BitReader as _;
use fax::maps::{Mode, black, mode, white};

use super::directory::FORMAT;
use crate::decode::deadline::CpuDeadline;
use crate::error::DecodeError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaxScheme {
    ModifiedHuffman,
    Group3 { is_two_dimensional: bool },
    Group4,
}

/// Rows between two checks of the deadline.
const ROWS_PER_CHECK: usize = 256;

/// Reads bits from a slice; after its end, zeros follow.
struct FaxBits<'b> {
    bytes: &'b [u8],
    /// The next bit.
    position: usize,
}

impl fax::BitReader for FaxBits<'_> {
    type Error = ();

    fn peek(&self, bits: u8) -> Option<u16> {
        let begin = self.position / 8;
        let at = |index: usize| u32::from(self.bytes.get(begin + index).copied().unwrap_or(0));
        let window = at(0) << 16 | at(1) << 8 | at(2);
        let shifted = window << (8 + self.position % 8);
        match bits {
            0 => Some(0),
            1..=16 => Some((shifted >> (32 - u32::from(bits))) as u16),
            _ => None,
        }
    }

    fn consume(&mut self, bits: u8) -> Result<(), ()> {
        self.position += usize::from(bits);
        Ok(())
    }

    fn bits_to_byte_boundary(&self) -> u8 {
        (self.position.wrapping_neg() % 8) as u8
    }
}

impl FaxBits<'_> {
    fn is_past_end(&self) -> bool {
        self.position > self.bytes.len() * 8
    }

    /// Returns whether a code that is not valid may be one that the end of the data cut.
    fn is_near_end(&self) -> bool {
        self.position + 24 >= self.bytes.len() * 8
    }

    /// Skips fill bits and an end-of-line mark (at least eleven zeros and a one), if there is one.
    fn skip_end_of_line(&mut self) -> bool {
        if self.peek(11) != Some(0) {
            return false;
        }
        let mut position = self.position + 11;
        loop {
            let Some(byte) = self.bytes.get(position / 8) else {
                // Only fill bits are left. The next call must not look at all of them again.
                self.position = self.bytes.len() * 8;
                return false;
            };
            match byte << (position % 8) {
                0 => position = (position / 8 + 1) * 8,
                rest => {
                    self.position = position + rest.leading_zeros() as usize + 1;
                    return true;
                }
            }
        }
    }

    /// Moves to the next end-of-line mark, after a damaged row.
    fn find_end_of_line(&mut self) -> bool {
        while !self.is_past_end() {
            if self.peek(11) == Some(0) {
                return true;
            }
            self.position += 1;
        }
        false
    }

    /// Returns the length of the next run of one colour.
    fn read_run(&mut self, is_black: bool) -> Option<usize> {
        let mut run = 0;
        loop {
            let part = usize::from(match is_black {
                true => black::decode(self)?,
                false => white::decode(self)?,
            });
            run += part;
            if part < 64 {
                return Some(run);
            }
            if self.is_past_end() {
                return None;
            }
        }
    }
}

/// Where the colour of a row changes, starting with white; positions never decrease.
type ColorChanges = Vec<usize>;

/// Why a row could not be decoded.
enum BrokenRow {
    /// The mark at the end of the data.
    EndOfData,
    Invalid,
    /// Pixels that are not compressed.
    Extension,
}

/// Decodes at most `rows` rows of `width` pixels. Returns one bit per pixel, 1 for black, with rows
/// that begin at whole bytes.
pub(crate) fn decode_fax(
    data: &[u8],
    scheme: FaxScheme,
    (width, rows): (usize, usize),
    deadline: &CpuDeadline<'_>,
) -> Result<Vec<u8>, DecodeError> {
    let row_bytes = width.div_ceil(8);
    let mut pixels = vec![0; row_bytes * rows];
    let mut bits = FaxBits {
        bytes: data,
        position: 0,
    };
    let (mut reference, mut current) = (ColorChanges::new(), ColorChanges::new());
    for (row, target) in pixels.chunks_exact_mut(row_bytes.max(1)).enumerate() {
        if row % ROWS_PER_CHECK == 0 {
            deadline.check()?;
        }
        current.clear();
        match decode_row(&mut bits, scheme, width, &reference, &mut current) {
            Ok(()) => {}
            // Rows that are left out at the end are white.
            Err(BrokenRow::EndOfData) if row > 0 => return Ok(pixels),
            Err(BrokenRow::EndOfData) => return Err(truncated(row, rows)),
            Err(BrokenRow::Extension) => {
                return Err(DecodeError::UnsupportedFeature {
                    format: FORMAT,
                    reason: "fax compression with uncompressed parts".to_owned(),
                });
            }
            Err(BrokenRow::Invalid) if bits.is_near_end() => return Err(truncated(row, rows)),
            // Like a fax machine, continues with the next row.
            Err(BrokenRow::Invalid)
                if matches!(scheme, FaxScheme::Group3 { .. }) && bits.find_end_of_line() => {}
            Err(BrokenRow::Invalid) => {
                return Err(DecodeError::Corrupt {
                    format: FORMAT,
                    reason: format!("row {row} violates the fax compression"),
                });
            }
        }
        if bits.is_past_end() {
            return Err(truncated(row, rows));
        }
        draw_runs(&current, width, target);
        std::mem::swap(&mut reference, &mut current);
    }
    Ok(pixels)
}

fn truncated(row: usize, rows: usize) -> DecodeError {
    DecodeError::Truncated {
        format: FORMAT,
        reason: format!("the compressed data of a strip ends at row {row} of {rows}"),
    }
}

fn decode_row(
    bits: &mut FaxBits<'_>,
    scheme: FaxScheme,
    width: usize,
    reference: &[usize],
    current: &mut ColorChanges,
) -> Result<(), BrokenRow> {
    match scheme {
        FaxScheme::ModifiedHuffman => {
            let fill = bits.bits_to_byte_boundary();
            bits.position += usize::from(fill);
            decode_one_dimensional(bits, width, current)
        }
        FaxScheme::Group3 { is_two_dimensional } => {
            let mut marks = 0;
            let mut is_one_dimensional = true;
            while bits.skip_end_of_line() {
                marks += 1;
                if is_two_dimensional {
                    is_one_dimensional = bits.peek(1) == Some(1);
                    bits.position += 1;
                }
                // Six marks end the data; one may be damaged.
                if marks == 5 {
                    return Err(BrokenRow::EndOfData);
                }
            }
            match is_one_dimensional {
                true => decode_one_dimensional(bits, width, current),
                false => decode_two_dimensional(bits, width, reference, current),
            }
        }
        FaxScheme::Group4 => decode_two_dimensional(bits, width, reference, current),
    }
}

/// Refuses rows that never reach their end: runs can have no pixels.
fn check_changes(changes: &ColorChanges, width: usize) -> Result<(), BrokenRow> {
    match changes.len() > 2 * width + 4 {
        true => Err(BrokenRow::Invalid),
        false => Ok(()),
    }
}

fn decode_one_dimensional(
    bits: &mut FaxBits<'_>,
    width: usize,
    current: &mut ColorChanges,
) -> Result<(), BrokenRow> {
    let (mut end, mut is_black) = (0, false);
    while end < width {
        check_changes(current, width)?;
        end += bits.read_run(is_black).ok_or(BrokenRow::Invalid)?;
        current.push(end.min(width));
        is_black = !is_black;
        if bits.is_past_end() {
            return Err(BrokenRow::Invalid);
        }
    }
    Ok(())
}

/// Decodes a row as its difference from the row above (T.6, section 2.2).
fn decode_two_dimensional(
    bits: &mut FaxBits<'_>,
    width: usize,
    reference: &[usize],
    current: &mut ColorChanges,
) -> Result<(), BrokenRow> {
    let (mut begin, mut is_black) = (0, false);
    let mut is_first = true;
    // The first change above that is to the right of `begin`, of any colour.
    let mut above = 0;
    while begin < width {
        check_changes(current, width)?;
        if bits.is_past_end() {
            return Err(BrokenRow::Invalid);
        }
        while reference
            .get(above)
            .is_some_and(|change| *change < begin + usize::from(!is_first))
        {
            above += 1;
        }
        // Changes to black have even indexes.
        let next = above + usize::from((above % 2 == 1) != is_black);
        let change_at = |index: usize| reference.get(index).copied().unwrap_or(width);
        match mode::decode(bits).ok_or(BrokenRow::Invalid)? {
            Mode::Pass => begin = change_at(next + 1),
            Mode::Horizontal => {
                let first = begin + bits.read_run(is_black).ok_or(BrokenRow::Invalid)?;
                let second = first + bits.read_run(!is_black).ok_or(BrokenRow::Invalid)?;
                current.push(first.min(width));
                current.push(second.min(width));
                begin = second;
            }
            Mode::Vertical(distance) => {
                let change = change_at(next)
                    .checked_add_signed(isize::from(distance))
                    .filter(|change| *change >= begin && *change <= width)
                    .ok_or(BrokenRow::Invalid)?;
                current.push(change);
                is_black = !is_black;
                begin = change;
            }
            Mode::Extension => return Err(BrokenRow::Extension),
            Mode::EOF => return Err(BrokenRow::EndOfData),
        }
        is_first = false;
    }
    Ok(())
}

fn draw_runs(changes: &[usize], width: usize, target: &mut [u8]) {
    for run in changes.chunks(2) {
        let begin = run[0].min(width);
        let end = run.get(1).copied().unwrap_or(width).min(width);
        let mut x = begin;
        while x < end {
            if x % 8 == 0 && end - x >= 8 {
                target[x / 8] = 0xff;
                x += 8;
            } else {
                target[x / 8] |= 0x80 >> (x % 8);
                x += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::deadline::DecodeMonitor;

    fn decode_group(scheme: FaxScheme, data: &[u8], rows: usize) -> DecodeError {
        let monitor = DecodeMonitor::default();
        let deadline = CpuDeadline::start(&monitor, std::time::Duration::from_secs(5));
        decode_fax(data, scheme, (8, rows), &deadline).unwrap_err()
    }

    #[test]
    fn zeros_to_the_end_are_read_once() {
        let scheme = FaxScheme::Group3 {
            is_two_dimensional: false,
        };
        let error = decode_group(scheme, &[0; 1 << 20], 1 << 20);
        assert_eq!(error.code(), "truncated", "{error}");
    }

    #[test]
    fn a_row_of_empty_runs_ends() {
        // Horizontal mode, a white run of 0 and a black run of 0.
        let bits = "001001101010000110111".repeat(8000);
        let data: Vec<u8> = bits
            .as_bytes()
            .chunks(8)
            .map(|byte| byte.iter().fold(0, |byte, bit| byte << 1 | (bit - b'0')))
            .collect();
        let error = decode_group(FaxScheme::Group4, &data, 1);
        assert_eq!(error.code(), "corrupt", "{error}");
    }
}

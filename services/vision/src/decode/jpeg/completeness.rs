//! Decides whether a JPEG is complete: whether the last block of its last scan is there.
//!
//! Neither an end marker nor its absence proves anything. A cut file can be followed by another JPEG
//! or by zeros, and a complete one can lack its last two bytes. Only a decoder knows, but decoders
//! replace missing data silently. Therefore the decoders get [`END_OF_DATA`] after the data of the
//! last scan instead of what the file has there. It begins with one bits, which are no Huffman code
//! (ITU T.81, annex C), so a decoder fails exactly if it needs a block that is not there. That costs
//! nothing. A file with an end marker may still lack a few blocks, because damage can also consume
//! data.
//!
//! A progressive file must also have its scans: all up to an end marker, or all that are needed for
//! every bit of every coefficient. Viewers show a blurred image otherwise; here the file is
//! `truncated`, because its copy is not finished.

use super::frame::{FORMAT, JpegFrame, ScanHeader};
use super::segments::{JpegSegments, START_OF_SCAN};
use super::tolerant::{ScanExtent, measure_extent};
use crate::decode::{deadline::CpuDeadline, limits::Limits};
use crate::error::DecodeError;

/// One bits for decoders that read ahead, and an end marker.
pub(super) const END_OF_DATA: &[u8] = &[
    0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff,
    0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0xd9,
];

/// A compressed file that ends with so many zeros before its end marker may be a preallocated one.
const SUSPICIOUS_ZEROS: usize = 64;

/// Data without an end marker may end with so many zeros, because codes can consist of zeros.
const MAX_FINAL_ZEROS: usize = 2;

/// If there is an end marker, damage may cost this part of the blocks: 1 of 64.
const TOLERATED_LOSS: usize = 64;

/// The frame and the scans of the first image in a file.
#[derive(Debug)]
pub(super) struct ImageMap {
    pub frame: JpegFrame,
    /// Offset of the end of the last scan's data, without zeros that are not part of it.
    pub data_end: usize,
    pub scans: usize,
    has_end_marker: bool,
    /// Whether every component has a scan with its first coefficient.
    has_all_components: bool,
    /// Whether the scans contain every bit of every coefficient.
    has_all_bits: bool,
    /// Whether the last scan has fewer restart markers than it needs, or any without an interval.
    has_odd_restarts: bool,
    /// Where zeros before the end marker begin.
    zeros_begin: Option<usize>,
}

impl ImageMap {
    pub(super) fn find(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut segments = JpegSegments::new(bytes);
        let (mut frame, mut interval) = (None, 0);
        let mut last = None;
        let mut scans = 0;
        // The lowest bit that the scans contain, for each component and coefficient.
        let mut lowest_bits: Vec<[u8; 64]> = Vec::new();
        for segment in segments.by_ref() {
            match (segment.marker, &frame) {
                (0xc0..=0xc2, None) => {
                    let parsed = JpegFrame::parse(segment.marker, segment.body)?;
                    lowest_bits = vec![[u8::MAX; 64]; parsed.components.len()];
                    frame = Some(parsed);
                }
                (0xdd, _) => {
                    interval = segment
                        .body
                        .first_chunk()
                        .map_or(0, |&two| u16::from_be_bytes(two));
                }
                (START_OF_SCAN, Some(frame)) => {
                    let scan = ScanHeader::parse(segment.body, frame)?;
                    for (component, _, _) in &scan.components {
                        lowest_bits[*component][scan.first..=scan.last].fill(scan.low);
                    }
                    last = Some((segment, scan, interval));
                    scans += 1;
                }
                _ => {}
            }
        }
        let has_end_marker = segments.has_end_marker();
        let Some((frame, (segment, scan, interval))) = frame.zip(last) else {
            return Err(truncated(
                "the file ends before the image begins".to_owned(),
            ));
        };
        let written = trim_unwritten(segment.entropy);
        let zeros = segment.entropy.len() - written;
        let (across, down) = frame.scan_units(&scan);
        let needed_restarts = match interval {
            0 => 0,
            interval => (across * down)
                .div_ceil(usize::from(interval))
                .saturating_sub(1) as u64,
        };
        let begin = segment.entropy_end - segment.entropy.len();
        Ok(Self {
            data_end: match has_end_marker {
                true => segment.entropy_end,
                false => begin + written + zeros.min(MAX_FINAL_ZEROS),
            },
            scans,
            has_end_marker,
            has_all_components: lowest_bits.iter().all(|bits| bits[0] != u8::MAX),
            has_all_bits: lowest_bits.iter().flatten().all(|bit| *bit == 0),
            has_odd_restarts: segment.restarts < needed_restarts
                || interval == 0 && segment.restarts > 0,
            zeros_begin: (has_end_marker && zeros >= SUSPICIOUS_ZEROS).then_some(begin + written),
            frame,
        })
    }

    /// Rejects a file whose incompleteness a decoder would not notice.
    pub(super) fn check_scans(
        &self,
        bytes: &[u8],
        limits: &Limits,
        deadline: &CpuDeadline<'_>,
    ) -> Result<(), DecodeError> {
        if !self.has_all_components {
            return Err(truncated(
                "it lacks the data of a colour component".to_owned(),
            ));
        }
        if !self.has_all_bits && !self.has_end_marker {
            return Err(truncated("its last scans are missing".to_owned()));
        }
        if !self.has_odd_restarts && self.zeros_begin.is_none() {
            return Ok(());
        }
        let measure = |end: usize| measure_extent(&bytes[..end], &self.frame, limits, deadline);
        let extent = measure(self.data_end)?;
        self.check_extent(&extent)?;
        match self.zeros_begin {
            // The zeros were not needed, so they are no data.
            Some(zeros_begin) if extent.unread_bytes > 0 => {
                self.check_extent(&measure(zeros_begin)?)
            }
            _ => Ok(()),
        }
    }

    /// Rejects a file whose last scan lacks blocks.
    pub(super) fn check_extent(&self, extent: &ScanExtent) -> Result<(), DecodeError> {
        let missing = extent.units - extent.reached;
        let tolerated = match self.has_end_marker {
            true => extent.units / TOLERATED_LOSS,
            false => 0,
        };
        if missing <= tolerated {
            return Ok(());
        }
        Err(truncated(format!(
            "its data ends after {} of {} blocks",
            extent.reached, extent.units
        )))
    }
}

fn truncated(reason: String) -> DecodeError {
    DecodeError::Truncated {
        format: FORMAT,
        reason,
    }
}

/// Returns the length of compressed data without the zeros and fill bytes after it. An encoder pads
/// the last byte with one bits.
fn trim_unwritten(entropy: &[u8]) -> usize {
    let is_data = |byte: &u8| !matches!(byte, 0 | 0xff);
    let mut length = entropy.iter().rposition(is_data).map_or(0, |last| last + 1);
    // A one byte is stored as `ff 00`.
    while entropy[length..].starts_with(&[0xff, 0]) {
        length += 2;
    }
    length
}

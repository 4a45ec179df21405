//! Walks through the segments of a JPEG: a marker, the segment's body and, after the header of a
//! scan, compressed data up to the next marker.

/// Marks of scans and of the image's end.
pub(super) const START_OF_SCAN: u8 = 0xda;
const END_OF_IMAGE: u8 = 0xd9;
const START_OF_IMAGE: u8 = 0xd8;

/// One segment. Only that of a scan has compressed data.
#[derive(Debug, Clone, Copy)]
pub(super) struct JpegSegment<'a> {
    pub marker: u8,
    /// Contents of the segment, without marker and length.
    pub body: &'a [u8],
    /// Compressed data with stuffed bytes and restart markers.
    pub entropy: &'a [u8],
    /// Offset in the file of the end of the compressed data.
    pub entropy_end: usize,
    /// Restart markers in the compressed data.
    pub restarts: u64,
}

/// Iterates over the segments of the first image of a file.
#[derive(Debug)]
pub(super) struct JpegSegments<'a> {
    bytes: &'a [u8],
    offset: usize,
    has_end_marker: bool,
}

impl<'a> JpegSegments<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            // Skips the image's start marker.
            offset: 2,
            has_end_marker: false,
        }
    }

    /// Returns whether the walk ended at the end marker. Otherwise the file ended, or another image
    /// began.
    pub(super) fn has_end_marker(&self) -> bool {
        self.has_end_marker
    }

    /// Returns the next marker and moves behind it. Like every reader, skips bytes between two
    /// segments.
    fn next_marker(&mut self) -> Option<u8> {
        loop {
            let rest = self.bytes.get(self.offset..)?;
            self.offset += memchr::memchr(0xff, rest)? + 1;
            match *self.bytes.get(self.offset)? {
                // A stuffed byte, or a fill byte.
                0 | 0xff => {}
                marker => {
                    self.offset += 1;
                    return Some(marker);
                }
            }
        }
    }

    /// Moves behind compressed data. Returns its end and the number of restart markers in it.
    fn skip_entropy(&mut self) -> (usize, u64) {
        let mut restarts = 0;
        let mut search = self.offset;
        loop {
            let Some(found) = memchr::memchr(0xff, &self.bytes[search..]) else {
                self.offset = self.bytes.len();
                return (self.offset, restarts);
            };
            let begin = search + found;
            let mut next = begin + 1;
            while self.bytes.get(next) == Some(&0xff) {
                next += 1;
            }
            match self.bytes.get(next) {
                Some(0) => {}
                Some(0xd0..=0xd7) => restarts += 1,
                _ => {
                    self.offset = begin;
                    return (begin, restarts);
                }
            }
            search = next + 1;
        }
    }
}

impl<'a> Iterator for JpegSegments<'a> {
    type Item = JpegSegment<'a>;

    fn next(&mut self) -> Option<JpegSegment<'a>> {
        let marker = loop {
            match self.next_marker()? {
                // Markers without a segment.
                0x01 | 0xd0..=0xd7 => {}
                END_OF_IMAGE => {
                    self.has_end_marker = true;
                    self.offset = self.bytes.len();
                    return None;
                }
                START_OF_IMAGE => {
                    self.offset = self.bytes.len();
                    return None;
                }
                marker => break marker,
            }
        };
        let length = self.bytes.get(self.offset..self.offset + 2)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let body = self.bytes.get(self.offset + 2..self.offset + length);
        let Some(body) = body else {
            self.offset = self.bytes.len();
            return None;
        };
        self.offset += length;
        let begin = self.offset;
        let (entropy_end, restarts) = match marker {
            START_OF_SCAN => self.skip_entropy(),
            _ => (begin, 0),
        };
        Some(JpegSegment {
            marker,
            body,
            entropy: &self.bytes[begin..entropy_end],
            entropy_end,
            restarts,
        })
    }
}

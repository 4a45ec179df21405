//! Finds the previews that a camera embeds in a raw file.

use crate::decode::deadline::CpuDeadline;
use crate::decode::tiff::directory::{self as tags, TiffDirectory, TiffFile};
use crate::error::DecodeError;

/// Shortest longer side of a preview that stands for the photo, in pixels.
pub(crate) const MIN_PREVIEW_SIDE: u32 = 512;

/// Shortest value of an unknown tag that may be a preview.
const MIN_JPEG_BYTES: u64 = 8 << 10;
/// Bytes of a JPEG in which its size is found.
const MAX_JPEG_HEAD_BYTES: usize = 1 << 20;
/// Most segments before a JPEG's frame.
const MAX_JPEG_SEGMENTS: usize = 256;
/// Most starts of a JPEG that are looked at when a whole file is searched.
const MAX_JPEG_STARTS: usize = 4096;
/// Bytes that are searched between two checks of the deadline.
const SEARCH_BYTES: usize = 1 << 20;

/// Something that can be decoded in place of the raw pixels.
pub(crate) struct Preview<'b> {
    pub width: u32,
    pub height: u32,
    pub source: PreviewSource<'b>,
}

pub(crate) enum PreviewSource<'b> {
    Jpeg(&'b [u8]),
    /// A page of the TIFF that has finished pixels.
    Page(TiffDirectory),
}

impl Preview<'_> {
    fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    fn is_large_enough(&self) -> bool {
        self.width.max(self.height) >= MIN_PREVIEW_SIDE
    }
}

/// Returns the previews that are large enough, the largest first.
pub(crate) fn find_previews<'b>(
    bytes: &'b [u8],
    file: Option<&TiffFile<'b>>,
    directories: &[TiffDirectory],
    deadline: &CpuDeadline<'_>,
) -> Result<Vec<Preview<'b>>, DecodeError> {
    let mut previews = Vec::new();
    if let Some(file) = file {
        for directory in directories {
            collect_jpegs(file, directory, &mut previews);
            previews.extend(find_page(file, directory));
        }
    }
    previews.retain(Preview::is_large_enough);
    if previews.is_empty() {
        // Makers' notes and formats of their own have previews at places of their own.
        search_jpegs(bytes, deadline, &mut previews)?;
        previews.retain(Preview::is_large_enough);
    }
    previews.sort_by_key(|preview| std::cmp::Reverse(preview.pixels()));
    Ok(previews)
}

/// Collects the JPEG files that a directory refers to.
fn collect_jpegs<'b>(
    file: &TiffFile<'b>,
    directory: &TiffDirectory,
    previews: &mut Vec<Preview<'b>>,
) {
    let mut add = |offset: u64, length: u64| {
        let bytes = file.read_bytes_up_to(offset, length);
        if let Some((width, height)) = read_jpeg_size(bytes) {
            previews.push(Preview {
                width,
                height,
                source: PreviewSource::Jpeg(bytes),
            });
        }
    };
    let number = |tag| file.tag_number(directory, tag);
    if let (Some(offset), Some(length)) = (number(tags::JPEG_OFFSET), number(tags::JPEG_LENGTH)) {
        add(offset, length);
    }
    let is_jpeg = matches!(number(tags::COMPRESSION), Some(6 | 7));
    let strips = directory.find_entry(tags::STRIP_OFFSETS);
    if is_jpeg
        && strips.is_some_and(|strips| strips.count == 1)
        && directory.find_entry(tags::JPEG_TABLES).is_none()
        && let (Some(offset), Some(length)) =
            (number(tags::STRIP_OFFSETS), number(tags::STRIP_BYTE_COUNTS))
    {
        add(offset, length);
    }
    // Panasonic and others store a whole JPEG as the value of a tag.
    for entry in &directory.entries {
        if matches!(entry.kind, 1 | 7) && entry.count >= MIN_JPEG_BYTES {
            add(entry.offset, entry.count);
        }
    }
}

/// Returns the page of a directory with finished pixels.
fn find_page<'b>(file: &TiffFile<'b>, directory: &TiffDirectory) -> Option<Preview<'b>> {
    let number = |tag| file.tag_number(directory, tag);
    let is_finished = matches!(number(tags::PHOTOMETRIC), Some(2 | 6))
        && directory.find_entry(tags::CFA_PATTERN).is_none()
        && number(tags::BITS_PER_SAMPLE) == Some(8)
        && number(tags::COMPRESSION).unwrap_or(1) != 6;
    is_finished.then_some(())?;
    Some(Preview {
        width: u32::try_from(number(tags::IMAGE_WIDTH)?).ok()?,
        height: u32::try_from(number(tags::IMAGE_LENGTH)?).ok()?,
        source: PreviewSource::Page(directory.clone()),
    })
}

/// Collects the JPEG files anywhere in `bytes`.
fn search_jpegs<'b>(
    bytes: &'b [u8],
    deadline: &CpuDeadline<'_>,
    previews: &mut Vec<Preview<'b>>,
) -> Result<(), DecodeError> {
    let mut starts = 0;
    for begin in (0..bytes.len()).step_by(SEARCH_BYTES) {
        deadline.check()?;
        let end = bytes.len().min(begin + SEARCH_BYTES + 2);
        let found = bytes[begin..end]
            .windows(3)
            .enumerate()
            .filter(|(_, window)| *window == b"\xff\xd8\xff")
            .map(|(index, _)| begin + index);
        for start in found {
            starts += 1;
            if starts > MAX_JPEG_STARTS {
                return Ok(());
            }
            if let Some((width, height)) = read_jpeg_size(&bytes[start..]) {
                previews.push(Preview {
                    width,
                    height,
                    source: PreviewSource::Jpeg(&bytes[start..]),
                });
            }
        }
    }
    Ok(())
}

/// Returns the size of a JPEG, or `None` if the bytes are none or contain raw pixels, which lossless
/// JPEG compresses.
fn read_jpeg_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let head = &bytes[..bytes.len().min(MAX_JPEG_HEAD_BYTES)];
    let mut rest = head.strip_prefix(b"\xff\xd8")?;
    for _ in 0..MAX_JPEG_SEGMENTS {
        let [0xff, marker, high, low, body @ ..] = rest else {
            return None;
        };
        match marker {
            // Fill bytes may precede a marker.
            0xff => {
                rest = &rest[1..];
                continue;
            }
            0xc0..=0xc2 => {
                let side = |at: usize| -> Option<u32> {
                    Some(u32::from(u16::from_be_bytes([
                        *body.get(at)?,
                        *body.get(at + 1)?,
                    ])))
                };
                return Some((side(3)?, side(1)?));
            }
            0xc4 | 0xc8 | 0xcc | 0xdb | 0xdd | 0xe0..=0xef | 0xfe => {}
            _ => return None,
        }
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = rest.get(2 + length.max(2)..)?;
    }
    None
}

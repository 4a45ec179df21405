//! Finds the profile of a JPEG.
//!
//! A segment has at most 65,533 bytes, so a profile is split over as many `APP2` segments as it needs.
//! Each states its number and how many there are (ICC.1, annex B.4).

use crate::decode::{appearance::MAX_PROFILE_BYTES, encoding::SourceProfile};

const PROFILE_START: &[u8] = b"ICC_PROFILE\0";

/// Returns the profile that the segments before the first scan contain. One with missing parts counts
/// as none.
pub(crate) fn read_jpeg_profile(bytes: &[u8]) -> SourceProfile {
    let mut parts: Vec<Option<&[u8]>> = Vec::new();
    for (marker, body) in (HeaderSegments { bytes, offset: 2 }) {
        let Some(part) = body.strip_prefix(PROFILE_START).filter(|_| marker == 0xe2) else {
            continue;
        };
        let Some((&[number, count], part)) = part.split_first_chunk::<2>() else {
            continue;
        };
        if parts.is_empty() {
            parts.resize(usize::from(count), None);
        }
        let place = usize::from(number).checked_sub(1);
        if let Some(place) = place.and_then(|place| parts.get_mut(place)) {
            place.get_or_insert(part);
        }
    }
    let length: usize = parts.iter().flatten().map(|part| part.len()).sum();
    let is_complete = !parts.is_empty() && parts.iter().all(Option::is_some);
    if !is_complete || length > MAX_PROFILE_BYTES {
        return SourceProfile::Srgb;
    }
    let parts: Vec<&[u8]> = parts.into_iter().flatten().collect();
    SourceProfile::Icc(parts.concat())
}

/// Iterates over the segments until the first scan. Damage ends it.
struct HeaderSegments<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Iterator for HeaderSegments<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let &[first, marker, ..] = self.bytes.get(self.offset..)? else {
                return None;
            };
            if first != 0xff || matches!(marker, 0 | 0xff) {
                self.offset += 1;
                continue;
            }
            self.offset += 2;
            match marker {
                0x01 | 0xd0..=0xd8 => continue,
                0xd9 | 0xda => return None,
                _ => {}
            }
            let length = self.bytes.get(self.offset..self.offset + 2)?;
            let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
            let body = self.bytes.get(self.offset + 2..self.offset + length)?;
            self.offset += length;
            return Some((marker, body));
        }
    }
}

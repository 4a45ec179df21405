//! Memory that a WebP's frames make the decoder allocate.
//!
//! A WebP states the size of its canvas at the beginning, and each frame's data states a size of its
//! own. The decoder allocates space for the frame before it compares the two, so a file of a few
//! kilobytes with a small canvas can request hundreds of megabytes. Therefore the frames' sizes are
//! checked against our limits, too.
//!
//! The decoder reports a cut file as damaged, so [`first_image_end`] tells where the data should end.

/// Frames that are checked. Only the first is decoded, but in a broken file it is not certain which
/// one that is.
const MAX_FRAMES: usize = 64;

/// Returns the largest number of bytes that the decoder may allocate for one frame's data.
pub(crate) fn claimed_frame_bytes(bytes: &[u8]) -> u64 {
    // Skips `RIFF`, the length and `WEBP`.
    let chunks = bytes.get(12..).unwrap_or_default();
    let mut claims = Vec::new();
    collect_claims(chunks, true, &mut claims);
    claims.into_iter().max().unwrap_or(0)
}

/// Collects the claims of chunks. A chunk is a name of four bytes, a length of four bytes, and data
/// that is padded to an even length.
fn collect_claims(mut chunks: &[u8], is_outside: bool, claims: &mut Vec<u64>) {
    while claims.len() < MAX_FRAMES
        && let Some((head, rest)) = chunks.split_at_checked(8)
    {
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        // A truncated chunk has the bytes that are left.
        let length = usize::try_from(length)
            .unwrap_or(usize::MAX)
            .min(rest.len());
        let data = &rest[..length];
        match &head[..4] {
            b"VP8 " => claims.extend(lossy_frame_bytes(data)),
            b"VP8L" => claims.extend(lossless_frame_bytes(data)),
            // A frame of an animation has sixteen bytes of its own, then chunks.
            b"ANMF" if is_outside => {
                collect_claims(data.get(16..).unwrap_or_default(), false, claims)
            }
            _ => {}
        }
        chunks = rest.get(length + length % 2..).unwrap_or_default();
    }
}

/// Returns where the data of the first image ends according to the file, which may be behind the
/// file's end.
pub(crate) fn first_image_end(bytes: &[u8]) -> Option<u64> {
    let mut offset = 12;
    loop {
        let head = bytes.get(offset..offset + 8)?;
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let end = offset as u64 + 8 + u64::from(length);
        if matches!(&head[..4], b"VP8 " | b"VP8L" | b"ANMF") {
            return Some(end);
        }
        offset = usize::try_from(end.next_multiple_of(2)).ok()?;
    }
}

/// Luma and two planes of a quarter of the size, in whole blocks of 16 pixels (RFC 6386,
/// section 9.1).
fn lossy_frame_bytes(data: &[u8]) -> Option<u64> {
    if data.get(3..6)? != [0x9d, 0x01, 0x2a] {
        return None;
    }
    let side = |at: usize| -> Option<u64> {
        let side = u16::from_le_bytes([*data.get(at)?, *data.get(at + 1)?]) & 0x3fff;
        Some(u64::from(side).next_multiple_of(16))
    };
    Some(side(6)? * side(8)? * 3 / 2)
}

/// Four bytes per pixel (RFC 9649, section 3.4).
fn lossless_frame_bytes(data: &[u8]) -> Option<u64> {
    if *data.first()? != 0x2f {
        return None;
    }
    let bits = u32::from_le_bytes(data.get(1..5)?.try_into().ok()?);
    let (width, height) = ((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1);
    Some(u64::from(width) * u64::from(height) * 4)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn encode_chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let length = u32::try_from(data.len()).unwrap().to_le_bytes();
        let mut bytes = [&name[..], &length, data].concat();
        if data.len() % 2 == 1 {
            bytes.push(0);
        }
        bytes
    }

    /// An animation with a canvas of 16 × 16 and one frame whose data states another size.
    pub(crate) fn encode_animation(frame: &[u8]) -> Vec<u8> {
        let mut canvas = vec![2, 0, 0, 0];
        canvas.extend([15, 0, 0, 15, 0, 0]);
        let mut placed = vec![0; 6];
        placed.extend([15, 0, 0, 15, 0, 0, 40, 0, 0, 0]);
        placed.extend(frame);
        let chunks = [
            encode_chunk(b"VP8X", &canvas),
            encode_chunk(b"ANIM", &[0; 6]),
            encode_chunk(b"ANMF", &placed),
        ]
        .concat();
        let mut body = b"WEBP".to_vec();
        body.extend(chunks);
        encode_chunk(b"RIFF", &body)
    }

    pub(crate) fn encode_vp8(side: u16) -> Vec<u8> {
        let mut data = vec![0x10, 0, 0, 0x9d, 0x01, 0x2a];
        data.extend(side.to_le_bytes());
        data.extend(side.to_le_bytes());
        data.resize(200, 1);
        encode_chunk(b"VP8 ", &data)
    }

    #[test]
    fn frames_tell_their_sides() {
        assert_eq!(
            claimed_frame_bytes(&encode_animation(&encode_vp8(100))),
            112 * 112 * 3 / 2
        );
        let mut lossless = vec![0x2f];
        lossless.extend((99_u32 | 49 << 14).to_le_bytes());
        let still = [&b"RIFF\0\0\0\0WEBP"[..], &encode_chunk(b"VP8L", &lossless)].concat();
        assert_eq!(claimed_frame_bytes(&still), 100 * 50 * 4);
        let whole = encode_animation(&encode_vp8(0x3fff));
        for length in 0..whole.len() {
            claimed_frame_bytes(&whole[..length]);
        }
    }
}

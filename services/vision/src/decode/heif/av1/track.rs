//! Finds the frames of an image sequence: the samples of the first AV1 track (ISO/IEC 14496-12).

use std::ops::Range;

/// Boxes of one level that are looked at.
const MAX_BOXES: usize = 256;

/// Returns where the first frames of a file are, at most `max_frames`. A file without a track, or with
/// a damaged one, has none.
pub(crate) fn list_frames(bytes: &[u8], max_frames: usize) -> Vec<Range<usize>> {
    let tracks = BoxList { rest: bytes }
        .take(MAX_BOXES)
        .filter(|(kind, _)| *kind == b"moov")
        .flat_map(|(_, movie)| BoxList { rest: movie }.take(MAX_BOXES))
        .filter(|(kind, _)| *kind == b"trak");
    tracks
        .filter_map(|(_, track)| find_box(track, &[b"mdia", b"minf", b"stbl"]))
        .find_map(|table| SampleTable::open(table)?.list_samples(bytes.len(), max_frames))
        .unwrap_or_default()
}

/// Iterates over the type and the content of boxes. Damage ends it.
struct BoxList<'b> {
    rest: &'b [u8],
}

impl<'b> Iterator for BoxList<'b> {
    type Item = (&'b [u8; 4], &'b [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = self.rest.split_first_chunk()?;
        let (kind, rest) = rest.split_first_chunk()?;
        let (length, rest) = match u32::from_be_bytes(*length) {
            0 => (rest.len(), rest),
            1 => {
                let (length, rest) = rest.split_first_chunk()?;
                let length = u64::from_be_bytes(*length).checked_sub(16)?;
                (usize::try_from(length).ok()?, rest)
            }
            length => ((length as usize).checked_sub(8)?, rest),
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        Some((kind, content))
    }
}

fn find_box<'b>(content: &'b [u8], path: &[&[u8; 4]]) -> Option<&'b [u8]> {
    path.iter().try_fold(content, |content, name| {
        let mut boxes = BoxList { rest: content }.take(MAX_BOXES);
        boxes
            .find(|(kind, _)| kind == name)
            .map(|(_, content)| content)
    })
}

fn read_u32(bytes: &[u8], index: usize) -> Option<u32> {
    let bytes = bytes.get(index.checked_mul(4)?..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

fn read_u64(bytes: &[u8], index: usize) -> Option<u64> {
    let bytes = bytes.get(index.checked_mul(8)?..)?.first_chunk()?;
    Some(u64::from_be_bytes(*bytes))
}

/// The tables that state where the samples of a track are. Each begins with version and flags.
struct SampleTable<'b> {
    sizes: &'b [u8],
    runs: &'b [u8],
    chunks: &'b [u8],
    has_long_offsets: bool,
}

impl<'b> SampleTable<'b> {
    /// Returns `None` if the track is not coded with AV1, or if a table is missing.
    fn open(table: &'b [u8]) -> Option<Self> {
        // Version, number of entries, and the length and type of the first one.
        let is_av1 = find_box(table, &[b"stsd"])?.get(12..16)? == b"av01";
        let short = find_box(table, &[b"stco"]);
        is_av1.then_some(())?;
        Some(Self {
            sizes: find_box(table, &[b"stsz"])?,
            runs: find_box(table, &[b"stsc"])?,
            chunks: short.or_else(|| find_box(table, &[b"co64"]))?,
            has_long_offsets: short.is_none(),
        })
    }

    fn list_samples(&self, file_bytes: usize, max_samples: usize) -> Option<Vec<Range<usize>>> {
        let count = (read_u32(self.sizes, 2)? as usize).min(max_samples);
        let mut samples = Vec::with_capacity(count.min(64));
        let mut chunk = 0;
        while samples.len() < count {
            let in_chunk = self.samples_in_chunk(chunk)?;
            let mut offset = self.chunk_offset(chunk)?;
            for _ in 0..in_chunk {
                if samples.len() == count {
                    break;
                }
                let end = offset.checked_add(self.sample_size(samples.len())?)?;
                if end > file_bytes {
                    // The file is cut; the frames before are good.
                    return Some(samples);
                }
                samples.push(offset..end);
                offset = end;
            }
            chunk += 1;
        }
        Some(samples)
    }

    fn sample_size(&self, sample: usize) -> Option<usize> {
        let size = match read_u32(self.sizes, 1)? {
            0 => read_u32(self.sizes, 3 + sample)?,
            size => size,
        };
        usize::try_from(size).ok()
    }

    fn chunk_offset(&self, chunk: usize) -> Option<usize> {
        let offset = match self.has_long_offsets {
            true => read_u64(&self.chunks[8.min(self.chunks.len())..], chunk)?,
            false => u64::from(read_u32(self.chunks, 2 + chunk)?),
        };
        usize::try_from(offset).ok()
    }

    /// Runs state the first chunk (from 1) and the samples of each chunk from there on.
    fn samples_in_chunk(&self, chunk: usize) -> Option<u32> {
        let runs = read_u32(self.runs, 1)?.min(1 << 10) as usize;
        let run = (0..runs)
            .take_while(|run| {
                read_u32(self.runs, 2 + 3 * run).is_some_and(|first| first as usize <= chunk + 1)
            })
            .last()?;
        read_u32(self.runs, 2 + 3 * run + 1).filter(|samples| *samples > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make_box(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let length = (content.len() as u32 + 8).to_be_bytes();
        [&length[..], kind, content].concat()
    }

    fn make_table(kind: &[u8; 4], numbers: &[u32]) -> Vec<u8> {
        let numbers: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
        make_box(kind, &numbers)
    }

    /// Two frames in the first chunk and one in the second.
    #[test]
    fn samples_are_found_in_their_chunks() {
        let entry = make_box(b"av01", &[0; 20]);
        let table = [
            make_box(b"stsd", &[&[0, 0, 0, 0, 0, 0, 0, 1], &entry[..]].concat()),
            make_table(b"stsz", &[0, 0, 3, 5, 6, 7]),
            make_table(b"stsc", &[0, 2, 1, 2, 1, 2, 1, 1]),
            make_table(b"stco", &[0, 2, 10, 40]),
        ]
        .concat();
        let movie = [b"stbl", b"minf", b"mdia", b"trak", b"moov"]
            .into_iter()
            .fold(table, |content, kind| make_box(kind, &content));
        assert_eq!(list_frames(&movie, 64), [10..15, 15..21, 40..47]);
        assert_eq!(list_frames(&movie, 2), [10..15, 15..21]);
        for length in 0..movie.len() {
            assert!(list_frames(&movie[..length], 64).is_empty());
        }
    }
}

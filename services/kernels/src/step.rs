//! What a step of a program sees of the memory: slots for values, and the run in progress.

use std::ops::Range;

use crate::memory::Scratch;
use crate::simd::Simd;

/// Channels and widths are padded to a multiple of this, which is a multiple of the lanes of each set.
pub(crate) const CHANNEL_PADDING: usize = 16;

/// Pads a number of channels.
pub(crate) fn pad_channels(channels: usize) -> usize {
    channels.next_multiple_of(CHANNEL_PADDING)
}

/// Zeros around a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Border {
    pub(crate) top: usize,
    pub(crate) left: usize,
    pub(crate) bottom: usize,
    pub(crate) right: usize,
}

impl Border {
    /// Returns the border that contains both.
    pub(crate) fn join(self, other: Self) -> Self {
        Self {
            top: self.top.max(other.top),
            left: self.left.max(other.left),
            bottom: self.bottom.max(other.bottom),
            right: self.right.max(other.right),
        }
    }
}

/// Where a map is stored: lines from top to bottom, each with its pixels, each with `pitch` elements, of
/// which those after `channels` are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MapSlot {
    /// Bytes from the start of the memory.
    pub(crate) offset: usize,
    /// Bytes from one image to the next. 0 if images are computed one after the other.
    pub(crate) image_step: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
    /// Elements per pixel.
    pub(crate) pitch: usize,
    pub(crate) border: Border,
}

impl MapSlot {
    /// Elements from one line to the next.
    pub(crate) fn line(&self) -> usize {
        (self.border.left + self.width + self.border.right) * self.pitch
    }

    /// Elements of one image with its border.
    pub(crate) fn image_elements(&self) -> usize {
        (self.border.top + self.height + self.border.bottom) * self.line()
    }

    pub(crate) fn pixels(&self) -> usize {
        self.height * self.width
    }
}

/// Where rows of numbers are stored: each has `pitch` numbers, of which those after `width` are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowsSlot {
    /// Bytes from the start of the memory.
    pub(crate) offset: usize,
    /// Bytes from one image to the next. 0 if images are computed one after the other.
    pub(crate) image_step: usize,
    /// Rows of an image, or the greatest number of token rows.
    pub(crate) rows: usize,
    /// The number of rows is that of the run.
    pub(crate) is_variable: bool,
    pub(crate) width: usize,
    /// Numbers per row.
    pub(crate) pitch: usize,
    /// The numbers are f32, not elements.
    pub(crate) is_wide: bool,
}

/// Where a value is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Map(MapSlot),
    Rows(RowsSlot),
}

impl Slot {
    pub(crate) fn map(&self) -> MapSlot {
        match self {
            Self::Map(slot) => *slot,
            Self::Rows(_) => unreachable!("the builder checks that the value is a map"),
        }
    }

    pub(crate) fn rows(&self) -> RowsSlot {
        match self {
            Self::Rows(slot) => *slot,
            Self::Map(_) => unreachable!("the builder checks that the value is rows"),
        }
    }
}

/// The images or token rows that a step computes, and the memory of their values.
#[derive(Clone)]
pub(crate) struct Run<'a> {
    /// The start of the memory, aligned to a cache line.
    pub(crate) memory: *mut u8,
    /// The images to compute, as positions in `pixels`.
    pub(crate) images: Range<usize>,
    /// Rows of slots with a variable number of rows.
    pub(crate) token_rows: usize,
    /// Threads that compute the chunks of a step.
    pub(crate) threads: usize,
    /// The pixels of all images.
    pub(crate) pixels: &'a [u8],
    /// The token rows.
    pub(crate) rows: &'a [f32],
}

// SAFETY: threads write disjoint parts of the memory: each chunk of a step writes its own part of the step's output.
unsafe impl Send for Run<'_> {}
// SAFETY: as above.
unsafe impl Sync for Run<'_> {}

impl Run<'_> {
    /// Returns the pixel in the upper left corner of an image's map, within its border.
    pub(crate) fn map<S: Simd>(&self, slot: &MapSlot, image: usize) -> *mut S::Element {
        let border = slot.border.top * slot.line() + slot.border.left * slot.pitch;
        let bytes = slot.offset + image * slot.image_step + border * size_of::<S::Element>();
        // The plan of the program reserves the memory of all slots; the pointer stays inside.
        self.memory.wrapping_add(bytes).cast()
    }

    /// Returns the first row of an image, as elements.
    pub(crate) fn elements<S: Simd>(&self, slot: &RowsSlot, image: usize) -> *mut S::Element {
        debug_assert!(!slot.is_wide);
        let bytes = slot.offset + image * slot.image_step;
        self.memory.wrapping_add(bytes).cast()
    }

    /// Returns the first row of an image, as f32.
    pub(crate) fn floats(&self, slot: &RowsSlot, image: usize) -> *mut f32 {
        debug_assert!(slot.is_wide);
        let bytes = slot.offset + image * slot.image_step;
        self.memory.wrapping_add(bytes).cast()
    }

    /// Returns the rows of each image.
    pub(crate) fn count_rows(&self, slot: &RowsSlot) -> usize {
        if slot.is_variable {
            self.token_rows
        } else {
            slot.rows
        }
    }
}

/// One step of a program. The steps of a run are computed one after the other; the chunks of a step in any order,
/// also at the same time.
pub(crate) trait Step<S: Simd>: Send + Sync {
    /// Returns the number of independent chunks, at least 1, for `run.threads` threads. With one thread, one chunk is
    /// best for most steps.
    fn count_chunks(&self, run: &Run<'_>) -> usize;

    /// Computes a chunk of `run.images`.
    ///
    /// # Safety
    ///
    /// The processor supports the set. The memory of the run has room for the slots of the step, and no other
    /// thread reads or writes what the chunk writes.
    unsafe fn run_chunk(&self, run: &Run<'_>, chunk: usize, chunks: usize, scratch: &mut Scratch);

    /// The size of the weights that the step reads.
    fn weight_bytes(&self) -> usize {
        0
    }
}

/// Returns the range of a chunk if `count` things are divided into `chunks` ranges whose limits are multiples of
/// `unit`.
pub(crate) fn chunk_range(count: usize, unit: usize, chunk: usize, chunks: usize) -> Range<usize> {
    let units = count.div_ceil(unit);
    let limit = |index: usize| (units * index / chunks * unit).min(count);
    limit(chunk)..limit(chunk + 1)
}

/// Writes zeros around the map of an image.
///
/// # Safety
///
/// `corner` is the result of [`Run::map`] for the slot, and no other thread uses the border.
pub(crate) unsafe fn clear_border<S: Simd>(corner: *mut S::Element, slot: &MapSlot) {
    let border = slot.border;
    if border == Border::default() {
        return;
    }
    let (line, pitch) = (slot.line(), slot.pitch);
    // SAFETY: the border belongs to the slot. The bits of an element 0 are 0.
    unsafe {
        let start = corner.sub(border.top * line + border.left * pitch);
        start.write_bytes(0, border.top * line + border.left * pitch);
        let mut right = corner.add(slot.width * pitch);
        for _ in 1..slot.height {
            right.write_bytes(0, (border.right + border.left) * pitch);
            right = right.add(line);
        }
        right.write_bytes(0, border.right * pitch + border.bottom * line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_everything_once() {
        for (count, unit, chunks) in [(10, 1, 3), (49, 6, 4), (5, 8, 2), (0, 1, 2), (7, 1, 9)] {
            let mut next = 0;
            for chunk in 0..chunks {
                let range = chunk_range(count, unit, chunk, chunks);
                assert_eq!(range.start, next);
                next = range.end;
            }
            assert_eq!(next, count);
        }
    }
}

//! The shapes of the operands of a product, and the places of their rows.

/// The inputs of a row of the product: a segment for each line of a convolution's window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segments {
    pub(crate) count: usize,
    /// Elements from one segment to the next.
    pub(crate) step: usize,
    /// Steps of the sum per segment.
    pub(crate) steps: usize,
}

/// The rows of a product as pixels of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) height: usize,
    pub(crate) width: usize,
}

/// Numbers from one pixel, line and image to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Strides {
    pub(crate) pixel: usize,
    pub(crate) line: usize,
    pub(crate) image: usize,
}

/// How the outputs are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputForm {
    /// Elements.
    Narrow,
    /// f32.
    Wide,
    /// Elements of two pixels in turn, for each channel. Lines have an even number of pixels, or there is one line. No
    /// residual.
    Paired,
}

/// Output channels that the product computes at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) first_output: usize,
    /// Width in vectors.
    pub(crate) vectors: usize,
    /// Elements before the block.
    pub(crate) offset: usize,
}

/// A pixel of one of the images.
pub(super) struct Pixel {
    image: usize,
    y: usize,
    x: usize,
}

impl Pixel {
    pub(super) fn new(row: usize, extent: Extent) -> Self {
        let (line, x) = (row / extent.width, row % extent.width);
        Self {
            image: line / extent.height,
            y: line % extent.height,
            x,
        }
    }

    #[inline(always)]
    pub(super) fn advance(&mut self, count: usize, extent: Extent) {
        self.x += count;
        while self.x >= extent.width {
            self.x -= extent.width;
            self.y += 1;
            if self.y == extent.height {
                self.y = 0;
                self.image += 1;
            }
        }
    }

    /// Returns the positions of this pixel and of those after it.
    #[inline(always)]
    pub(super) fn offsets<const COUNT: usize>(
        &self,
        extent: Extent,
        strides: Strides,
    ) -> [usize; COUNT] {
        let first = self.image * strides.image + self.y * strides.line + self.x * strides.pixel;
        let mut offsets = [first; COUNT];
        if self.x + COUNT <= extent.width {
            for (index, offset) in offsets.iter_mut().enumerate() {
                *offset += index * strides.pixel;
            }
            return offsets;
        }
        let (mut image, mut y, mut x) = (self.image, self.y, self.x);
        for offset in &mut offsets {
            *offset = image * strides.image + y * strides.line + x * strides.pixel;
            x += 1;
            if x == extent.width {
                x = 0;
                y += 1;
                if y == extent.height {
                    y = 0;
                    image += 1;
                }
            }
        }
        offsets
    }
}

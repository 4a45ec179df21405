//! The shapes of the operands of a product.

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

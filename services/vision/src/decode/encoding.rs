//! What the samples of a picture mean: its alpha channel.

/// States how samples as they leave a decoder become colours that people see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SampleEncoding {
    pub alpha: AlphaMeaning,
}

/// What the alpha channel of a decoded picture means, if it has one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum AlphaMeaning {
    /// Opacity; the colours are stored as they are.
    #[default]
    Straight,
    /// Opacity; the colours are multiplied by it already.
    Premultiplied,
    /// Opacity, unless it is zero everywhere: then the writer did not use the channel.
    MaybeUnused,
}

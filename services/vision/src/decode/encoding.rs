//! What the samples of a picture mean: the colour space of a file, and its alpha channel.

/// States how samples as they leave a decoder become colours that people see.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct SampleEncoding {
    pub profile: SourceProfile,
    pub alpha: AlphaMeaning,
}

/// The colour space of the samples.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum SourceProfile {
    /// sRGB, or gray with the tone curve of sRGB. Files that state nothing are read as this.
    #[default]
    Srgb,
    /// The bytes of an ICC profile, not checked yet.
    Icc(Vec<u8>),
    /// A pure power curve. PNG stores one in `gAMA`.
    Gamma {
        /// The exponent that makes samples linear, as 2.2.
        exponent: f32,
        /// x and y of white, red, green and blue; `None` means those of sRGB.
        primaries: Option<[f32; 8]>,
    },
    /// Colour primaries and transfer characteristics with the numbers of ITU-T H.273.
    Coded { primaries: u8, transfer: u8 },
}

/// What the alpha channel of a decoded picture means, if it has one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum AlphaMeaning {
    /// Opacity; the colours are stored as they are.
    #[default]
    Straight,
    /// Opacity, unless it is zero everywhere: then the writer did not use the channel.
    MaybeUnused,
}

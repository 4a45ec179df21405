//! Sizes of transformers. Models with the same network differ in them.

use serde::{Deserialize, Serialize};

/// Sizes of a stack of equal transformer blocks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TransformerShape {
    /// Length of a token's vector.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Number of attention heads.
    pub heads: usize,
    /// Inner width of a block's MLP.
    pub mlp: usize,
    /// Activation between the two layers of the MLP.
    pub activation: Activation,
    /// Epsilon of the layer norms.
    pub norm_epsilon: f64,
    /// Whether each block scales its residuals by learned factors (`ls1`, `ls2`).
    #[serde(default)]
    pub layer_scale: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x Φ(x)`.
    Gelu,
    /// `x Φ(x)`, approximated with tanh.
    GeluTanh,
    /// `x σ(1.702 x)`.
    QuickGelu,
}

/// Sizes of an image encoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VisionTower {
    /// Width and height of a patch, in pixels.
    pub patch: usize,
    /// Number of register tokens, which follow the class token.
    #[serde(default)]
    pub registers: usize,
    #[serde(flatten)]
    pub shape: TransformerShape,
}

/// Sizes of a text encoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextTower {
    /// Number of tokens in the vocabulary.
    pub vocabulary: usize,
    /// Most tokens of a text that are read.
    pub positions: usize,
    /// The token that ends a text. The output at its position is the text's feature.
    pub end_token: u32,
    /// The token that fills a text up to all positions, for models that read it so (SigLIP). Then the
    /// output at the last position is the text's feature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub padding_token: Option<u32>,
    /// Whether texts are converted to lower case before they are tokenised.
    #[serde(default, skip_serializing_if = "is_false")]
    pub lower_case: bool,
    #[serde(flatten)]
    pub shape: TransformerShape,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl TransformerShape {
    fn check_sizes(&self) -> Result<(), String> {
        let sizes = [
            ("width", self.width, 8192),
            ("depth", self.depth, 64),
            ("heads", self.heads, 128),
            ("mlp", self.mlp, 32_768),
        ];
        check_ranges(&sizes)?;
        if !self.width.is_multiple_of(self.heads) {
            return Err(format!(
                "the width {} cannot be cut into {} heads",
                self.width, self.heads
            ));
        }
        if !(self.norm_epsilon > 0.0 && self.norm_epsilon < 0.1) {
            return Err(format!(
                "the norm_epsilon {} is out of range",
                self.norm_epsilon
            ));
        }
        Ok(())
    }
}

impl VisionTower {
    /// Checks the sizes for images of `side` pixels.
    pub(super) fn check_for_side(&self, side: u32) -> Result<(), String> {
        check_ranges(&[("patch", self.patch, side as usize)])?;
        if !(side as usize).is_multiple_of(self.patch) || self.registers > 64 {
            return Err(format!(
                "{side} pixels cannot be cut into patches of {}, or {} registers are too many",
                self.patch, self.registers
            ));
        }
        self.shape.check_sizes()
    }
}

impl TextTower {
    pub(super) fn check_sizes(&self) -> Result<(), String> {
        let sizes = [
            ("vocabulary", self.vocabulary, 1 << 20),
            ("positions", self.positions, 4096),
        ];
        check_ranges(&sizes)?;
        let is_known = |token: u32| (token as usize) < self.vocabulary;
        if !is_known(self.end_token) || !self.padding_token.is_none_or(is_known) {
            return Err("the end token and the padding token must be in the vocabulary".to_owned());
        }
        if self.positions < 2 {
            return Err("a text must have at least two positions".to_owned());
        }
        self.shape.check_sizes()
    }
}

fn check_ranges(sizes: &[(&str, usize, usize)]) -> Result<(), String> {
    match sizes.iter().find(|(_, size, max)| *size < 1 || size > max) {
        Some((name, size, max)) => Err(format!("the {name} {size} must be 1 to {max}")),
        None => Ok(()),
    }
}

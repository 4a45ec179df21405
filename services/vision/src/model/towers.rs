//! The sizes of transformers, which differ from model to model where their networks do not.

use serde::{Deserialize, Serialize};

/// A stack of equal blocks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TransformerShape {
    /// Numbers in a token.
    pub width: usize,
    /// Blocks, one behind the other.
    pub depth: usize,
    /// Parts that a token is cut into for attention.
    pub heads: usize,
    /// Numbers in a token between the two layers of a block's own network.
    pub mlp: usize,
    /// What stands between those two layers.
    pub activation: Activation,
    /// What keeps a norm from dividing by zero.
    pub norm_epsilon: f64,
    /// Whether each block scales what it adds by factors of its own (`ls1`, `ls2`).
    #[serde(default)]
    pub layer_scale: bool,
}

/// A function of single numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x Φ(x)`.
    Gelu,
    /// `x Φ(x)` by way of tanh.
    GeluTanh,
    /// `x σ(1.702 x)`.
    QuickGelu,
}

/// A transformer that reads a picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VisionTower {
    /// Width and height of a patch, in pixels.
    pub patch: usize,
    /// Tokens behind the class token that belong to no patch.
    #[serde(default)]
    pub registers: usize,
    /// What the tokens pass through.
    #[serde(flatten)]
    pub shape: TransformerShape,
}

/// A transformer that reads words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextTower {
    /// Tokens that are known.
    pub vocabulary: usize,
    /// Tokens of a text that are read, at most.
    pub positions: usize,
    /// The token that ends a text, whose place holds the answer.
    pub end_token: u32,
    /// The token that fills a text up to all its positions, where a model reads it so (SigLIP): then
    /// the last place holds the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub padding_token: Option<u32>,
    /// Whether words become lower case before they become tokens.
    #[serde(default, skip_serializing_if = "is_false")]
    pub lower_case: bool,
    /// What the tokens pass through.
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
                "the width {} can not be cut into {} heads",
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
    /// For pictures of `encoder` pixels.
    pub(super) fn check_for_side(&self, side: u32) -> Result<(), String> {
        check_ranges(&[("patch", self.patch, side as usize)])?;
        if !(side as usize).is_multiple_of(self.patch) || self.registers > 64 {
            return Err(format!(
                "{side} pixels can not be cut into patches of {}, or {} registers are too many",
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
            return Err("a text must have two positions or more".to_owned());
        }
        self.shape.check_sizes()
    }
}

fn check_ranges(sizes: &[(&str, usize, usize)]) -> Result<(), String> {
    match sizes
        .iter()
        .find(|(_, size, most)| *size < 1 || size > most)
    {
        Some((name, size, most)) => Err(format!("the {name} {size} must be 1 to {most}")),
        None => Ok(()),
    }
}

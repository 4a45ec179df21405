//! What a query for a vector contains, and its result.

use bytes::Bytes;
use lookalike_proto::QueryText;

/// The input of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmbedInput {
    /// Preprocessed pixels: side × side × 3 bytes, RGB.
    Pixels(Bytes),
    Text(QueryText),
}

/// A vector and the model that produced it.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddedVector {
    /// A unit vector of the model's dimension.
    pub vector: Vec<f32>,
    pub model: String,
    /// SHA-256 of the model's weights, in hexadecimal.
    pub checksum: String,
}

/// The reply to a query that an embedder refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedFailure {
    pub code: String,
    /// One sentence for a person.
    pub detail: String,
}

/// The result of a query.
pub(crate) type EmbedResult = Result<EmbeddedVector, EmbedFailure>;

//! Attention (Vaswani et al., 2017): `softmax(Q Kᵀ / √d) V` for each head.
//!
//! Blocks of six queries are processed at a time. Their scores against all keys, and then their
//! weights, stay in the L1 cache, so the matrix of all scores is never in memory. The keys and values
//! of a head are packed for the matrix products first. With `n` tokens that takes `2 n d` elements,
//! which stay in the L2 cache.

mod block;
mod head;
mod pack;
mod pooled;
mod shape;
#[cfg(test)]
mod tests;

pub(crate) use head::AttendHead;
pub(crate) use pooled::{AttendWithQuery, PooledAttention};
pub(crate) use shape::AttentionShape;

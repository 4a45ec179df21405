//! Building blocks shared by the networks, on burn.

pub(super) mod activation;
pub(super) mod conv;
pub(super) mod linear;
pub(super) mod patches;
pub(super) mod positions;
pub(super) mod transformer;

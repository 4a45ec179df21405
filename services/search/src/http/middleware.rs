//! What every request passes.

pub(crate) mod errors;
pub(crate) mod hosts;

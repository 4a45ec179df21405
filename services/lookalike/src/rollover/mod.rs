//! `models use`: rolls over to another model while searches continue.
//!
//! The steps, one file each: open a second collection for the new model ([`plan`]), fill it in
//! passes until it changes little ([`copy`]), [`compare`] the models on the user's pictures and
//! write a [`sheet`], ask ([`confirm`]), copy once more, move the alias ([`activate`]), and
//! [`wait_for_roles`]. A final audit indexes what changed meanwhile.
//!
//! The command may be interrupted anywhere. Everything before the alias moves can be repeated and
//! skips what is done; everything after it also happens when a role starts.

mod activate;
mod compare;
mod confirm;
mod copy;
mod drop_old;
mod lease;
pub mod missing_model;
mod plan;
mod progress_output;
mod rollback;
mod run;
mod session;
mod sheet;
mod wait_for_roles;

pub use run::run_models_use;

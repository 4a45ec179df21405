//! All settings: one struct with a section per crate, and how its values are determined.

mod resolve;
mod schema;

pub use resolve::resolve_settings;
pub use schema::Settings;

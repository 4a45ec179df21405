//! All settings: one struct with a section per crate, how its values are determined, and what they mean.

mod docs;
mod library;
mod permissions;
mod resolve;
mod schema;

pub use docs::{SettingDescription, describe_settings, variable_of};
pub(crate) use permissions::refuse_watched_trash;
pub use resolve::{find_settings_file, resolve_settings};
pub use schema::Settings;

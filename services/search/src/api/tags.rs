//! The tags that group the operations in the documentation.

use poem_openapi::Tags;

#[derive(Tags)]
pub(crate) enum Tag {
    /// Finds images by what they look like.
    Search,
    /// The images of the index and their files.
    Images,
    /// Searches that are compared with every new or changed picture.
    SavedSearches,
    /// Counts, libraries and the model.
    Status,
    /// Failed files and why they failed; scans and confirmations of folders.
    Maintenance,
    /// Signing in with an API key.
    Session,
}

//! Why a folder could not be watched.

use std::io;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchError {
    /// The system allows no more watches.
    SystemLimit,
    /// The system allows this user no more objects that watch.
    InstanceLimit,
    /// The folder does not exist (any more), or may not be listed: listing it will fail, too.
    NoAccess,
    /// Any other error of the system.
    Refused(String),
}

impl WatchError {
    /// Classifies an error of a folder's watch, which `message` describes.
    pub fn from_access_error(error: &io::Error, message: String) -> Self {
        let is_denied = error.kind() == io::ErrorKind::PermissionDenied;
        match is_denied || crate::disk::is_not_found(error) {
            true => Self::NoAccess,
            false => Self::Refused(message),
        }
    }
}

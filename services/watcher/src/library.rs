//! Steps of the keeper that concern one library.

pub mod mass_delete_guard;
pub mod missing_files;
pub mod observe;
pub mod requests;
pub mod scan_folder;
pub mod scan_queue;
pub mod settling;
pub mod status;

//! Uploads and deletions: the only code that changes a watched folder.
//!
//! | step | where |
//! |---|---|
//! | which libraries permit it | [`settings`], [`permission`] |
//! | check the folder and the name of a picture | [`target`] |
//! | store the bytes in a temporary file, hash them, detect the format | [`staging`], [`receive`] |
//! | find the same picture; give the file its name | [`landing`], [`store`] |
//! | the id of an upload; its state | [`upload_id`], [`state`] |
//! | move a file to the trash | [`trash`], [`remove`] |
//!
//! A picture appears under its name when it is complete and on the disk, and no file is ever
//! replaced. The watcher then indexes it like any other new file. The id of an upload contains the
//! library, the path and the content hash, and its state comes from the watcher's catalog and the
//! index, so nothing has to be stored about an upload.

pub(crate) mod settings;

pub(crate) mod library_uploads;
pub(crate) mod permission;

pub(crate) mod target;

mod storage_problem;

mod folder_walk;
pub(crate) mod staging;

pub(crate) mod receive;

mod landing;
pub(crate) mod store;

pub(crate) mod state;
pub(crate) mod upload_id;

pub(crate) mod remove;
mod trash;

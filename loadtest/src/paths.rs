//! Arguments that name files and folders. Checking them while the command line is parsed makes a wrong
//! name wrong usage, before anything is started or measured.

use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};

/// Parses the path of a folder that exists.
pub fn existing_folder() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => Ok(path),
        Ok(_) => Err("this is not a folder".to_owned()),
        Err(error) => Err(error.to_string()),
    })
}

/// Parses the path of a file that exists.
pub fn existing_file() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => Err("this is a folder, not a file".to_owned()),
        Ok(_) => Ok(path),
        Err(error) => Err(error.to_string()),
    })
}

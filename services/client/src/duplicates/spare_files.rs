//! The paths on this disk of files that need not be kept.
//!
//! The paths are for commands that delete. So a file is left out unless the one to keep exists here and is
//! another file: libraries may contain each other's folders, and files may be hard links of each other.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use anyhow::Result;
use lookalike_chassis::stdio;
use lookalike_proto::unescape_path;
use serde_json::Value;

use crate::service::ServiceClient;

/// What identifies a file on this machine: its device and its number there.
type FileIdentity = (u64, u64);

pub(super) struct SpareFiles {
    roots: HashMap<String, PathBuf>,
    /// Files to keep, and files whose paths were printed.
    seen: HashSet<FileIdentity>,
    missing: u64,
    same_file: u64,
}

impl SpareFiles {
    /// Asks the service where the libraries are.
    pub(super) async fn new(service: &ServiceClient) -> Result<Self> {
        let stats = service.get_json("/v1/stats", &[]).await?;
        let libraries = stats["libraries"].as_array().into_iter().flatten();
        let roots = libraries.filter_map(|library| {
            let root = library["root"].as_str()?;
            Some((library["name"].as_str()?.to_owned(), PathBuf::from(root)))
        });
        Ok(Self::with_roots(roots.collect()))
    }

    pub(super) fn with_roots(roots: HashMap<String, PathBuf>) -> Self {
        Self {
            roots,
            seen: HashSet::new(),
            missing: 0,
            same_file: 0,
        }
    }

    /// Returns the paths of a group that need not be kept, each followed by a NUL byte.
    pub(super) fn paths_of_group(&mut self, group: &Value) -> Vec<u8> {
        let images: Vec<&Value> = group["images"].as_array().into_iter().flatten().collect();
        let (kept, spare): (Vec<&Value>, Vec<&Value>) =
            images.into_iter().partition(|image| image["keep"] == true);
        let kept: Vec<_> = kept
            .into_iter()
            .filter_map(|image| self.find(image))
            .collect();
        if kept.is_empty() {
            self.missing += spare.len() as u64;
            return Vec::new();
        }
        self.seen.extend(kept.iter().map(|(_, identity)| *identity));
        let mut paths = Vec::new();
        for image in spare {
            match self.find(image) {
                None => self.missing += 1,
                Some((path, identity)) if self.seen.insert(identity) => {
                    paths.extend_from_slice(path.as_os_str().as_bytes());
                    paths.push(0);
                }
                Some(_) => self.same_file += 1,
            }
        }
        paths
    }

    /// Finds a file on this disk. A symbolic link is the file to which it leads.
    fn find(&self, image: &Value) -> Option<(PathBuf, FileIdentity)> {
        let root = self.roots.get(image["library"].as_str()?)?;
        let text = image["path"].as_str()?;
        let as_written = root.join(text);
        let unescaped = unescape_path(text).map(|path| root.join(OsStr::from_bytes(&path)));
        [Some(as_written), unescaped]
            .into_iter()
            .flatten()
            .find_map(|path| {
                let metadata = path.metadata().ok()?;
                Some((path, (metadata.dev(), metadata.ino())))
            })
    }

    pub(super) fn report_left_out(&self) {
        if self.missing > 0 {
            stdio::eprint_line(&format!(
                "{} files were left out: they, or the files to keep, are not on this machine",
                self.missing
            ));
        }
        if self.same_file > 0 {
            stdio::eprint_line(&format!(
                "{} paths were left out: they lead to files that are kept or already listed",
                self.same_file
            ));
        }
    }
}

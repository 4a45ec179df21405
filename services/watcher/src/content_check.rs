//! Files of which only rights, owner, link count or attributes seem to have changed (`chmod -R`,
//! `chown`, `cp -al`, `touch -a`, backup programs). The system cannot show whether their bytes are
//! the indexed ones, because programs can set the time of a write back. So their bytes are compared,
//! and no row is rewritten for nothing.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use lookalike_proto::{ContentHash, ImageId};

use crate::disk::{self, FileKind, FileStat};

/// A file to compare with the content that the catalog lists.
#[derive(Debug, Clone)]
pub struct ContentCheck {
    pub image_id: ImageId,
    /// Where the file is.
    pub full_path: PathBuf,
    /// The path below the library's root.
    pub path: Vec<u8>,
    /// What the disk reported when the check was queued.
    pub stat: FileStat,
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckedContent {
    Hash(ContentHash),
    /// The file changed again, or something else is there.
    Replaced,
    /// The system refuses to read it.
    Unreadable,
}

/// A check and its result.
#[derive(Debug, Clone)]
pub struct ContentCheckReport {
    pub check: ContentCheck,
    pub content: CheckedContent,
}

impl ContentCheck {
    /// Reads the file and computes the hash of its bytes.
    pub fn compare_content(self) -> ContentCheckReport {
        let content = self.hash_unchanged().unwrap_or_else(|error| {
            match disk::is_not_found(&error) || error.raw_os_error() == Some(libc::ELOOP) {
                true => CheckedContent::Replaced,
                false => CheckedContent::Unreadable,
            }
        });
        ContentCheckReport {
            check: self,
            content,
        }
    }

    fn hash_unchanged(&self) -> io::Result<CheckedContent> {
        // Neither follows a link nor waits for the writer of a pipe that replaced the file.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&self.full_path)?;
        let is_unchanged = || {
            let metadata = file.metadata()?;
            Ok::<_, io::Error>(disk::kind_from_metadata(&metadata) == FileKind::File(self.stat))
        };
        if !is_unchanged()? {
            return Ok(CheckedContent::Replaced);
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(&file)?;
        if !is_unchanged()? {
            return Ok(CheckedContent::Replaced);
        }
        let hash = ContentHash::from_bytes(*hasher.finalize().as_bytes());
        Ok(CheckedContent::Hash(hash))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn check_of(folder: &std::path::Path, name: &str) -> ContentCheck {
        let full_path = folder.join(name);
        let Ok(Some(FileKind::File(stat))) = disk::stat_path(&full_path) else {
            panic!("{name} is a file");
        };
        ContentCheck {
            image_id: ImageId::for_new_file(
                &lookalike_proto::LibraryName::new("one").unwrap(),
                name.as_bytes(),
                0,
            ),
            full_path,
            path: name.into(),
            stat,
        }
    }

    #[test]
    fn what_replaced_a_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jpg");
        std::fs::write(&path, b"bytes").unwrap();
        let check = check_of(dir.path(), "a.jpg");
        let content = || check.clone().compare_content().content;
        assert!(matches!(content(), CheckedContent::Hash(_)));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(content(), CheckedContent::Replaced);
        std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
        assert_eq!(content(), CheckedContent::Replaced);
        std::fs::remove_file(&path).unwrap();
        let pipe = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(pipe.unwrap().success());
        assert_eq!(content(), CheckedContent::Replaced);
    }
}

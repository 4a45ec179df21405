//! Where an export is written: standard output, or files that appear only when they are complete.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use lookalike_chassis::stdio;

use super::format::ExportFormat;
use super::rows::RowWriter;
use crate::usage_error::usage_error;

pub(super) enum ExportOutput {
    Stdout,
    Files {
        data: PartialFile,
        /// The ids of a NumPy file.
        ids: Option<PartialFile>,
    },
}

impl ExportOutput {
    /// # Errors
    /// Wrong use if the file cannot be created.
    pub(super) fn create(file: Option<&Path>, format: ExportFormat) -> Result<Self> {
        let Some(file) = file else {
            return Ok(Self::Stdout);
        };
        let ids = match format {
            ExportFormat::Npy => Some(PartialFile::create(&file.with_extension("ids.txt"))?),
            ExportFormat::Jsonl | ExportFormat::Csv => None,
        };
        let data = PartialFile::create(file)?;
        Ok(Self::Files { data, ids })
    }

    /// Writes the rows that the writer has collected.
    pub(super) fn write_rows(&mut self, writer: &mut RowWriter) -> Result<()> {
        let bytes = writer.take_bytes();
        match self {
            Self::Stdout => Ok(stdio::write_bytes(&bytes)?),
            Self::Files { data, ids } => {
                data.append(&bytes)?;
                match ids {
                    Some(ids) => ids.append(&writer.take_ids()),
                    None => Ok(()),
                }
            }
        }
    }

    /// Completes the files and gives them their names.
    pub(super) fn finish(mut self, writer: &mut RowWriter) -> Result<()> {
        self.write_rows(writer)?;
        let Self::Files { mut data, ids } = self else {
            return Ok(());
        };
        if let Some(ids) = ids {
            data.replace_start(&writer.npy_header())?;
            ids.publish()?;
        }
        data.publish()
    }
}

/// A file under a temporary name; removed when dropped before it is published.
pub(super) struct PartialFile {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    is_published: bool,
}

impl PartialFile {
    fn create(path: &Path) -> Result<Self> {
        let name = path
            .file_name()
            .ok_or_else(|| usage_error(anyhow!("{} names no file", path.display())))?;
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}.partial", std::process::id()));
        let temporary = path.with_file_name(temporary);
        let file = File::create(&temporary)
            .map_err(|error| usage_error(anyhow!("cannot create {}: {error}", path.display())))?;
        Ok(Self {
            file,
            temporary,
            path: path.to_owned(),
            is_published: false,
        })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes);
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }

    fn replace_start(&mut self, bytes: &[u8]) -> Result<()> {
        let rewound = self.file.seek(SeekFrom::Start(0));
        rewound.with_context(|| format!("cannot write {}", self.path.display()))?;
        self.append(bytes)
    }

    fn publish(mut self) -> Result<()> {
        let published = self
            .file
            .sync_all()
            .and_then(|()| std::fs::rename(&self.temporary, &self.path));
        self.is_published = published.is_ok();
        published.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if !self.is_published {
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_only_when_it_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.jsonl");
        std::fs::write(&path, "old").unwrap();
        let mut file = PartialFile::create(&path).unwrap();
        file.append(b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        drop(file);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        let mut file = PartialFile::create(&path).unwrap();
        file.append(b"xew").unwrap();
        file.replace_start(b"n").unwrap();
        file.publish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(PartialFile::create(&dir.path().join("missing/out.jsonl")).is_err());
    }
}

//! Applies planned steps to real folders, and hashes their files.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;

use crate::chaos::plan::content::PaintedPictures;
use crate::chaos::plan::folder_model::{FolderStep, WriteMethod, library_of, name_of, parent_of};

/// Changes the folders, one step at a time.
pub struct DiskOperator<'p> {
    folder: PathBuf,
    pictures: &'p PaintedPictures,
    open_file: Option<(File, Vec<u8>)>,
    away_library: Option<String>,
}

/// Folder name of a root while it is away; next to the libraries, so a rename suffices.
const AWAY_FOLDER: &str = "away";

impl<'p> DiskOperator<'p> {
    /// `folder` is the parent folder of the libraries.
    pub fn new(folder: &Path, pictures: &'p PaintedPictures) -> Self {
        Self {
            folder: folder.to_owned(),
            pictures,
            open_file: None,
            away_library: None,
        }
    }

    pub fn apply_step(&mut self, step: &FolderStep) -> anyhow::Result<()> {
        self.try_step(step).with_context(|| format!("{step:?}"))
    }

    /// Moves the missing root back and closes the open file.
    pub fn restore_all(&mut self) -> anyhow::Result<()> {
        self.open_file = None;
        if self.away_library.is_some() {
            self.apply_step(&FolderStep::PutRootBack)?;
        }
        Ok(())
    }

    fn resolve_path(&self, path: &str) -> anyhow::Result<PathBuf> {
        anyhow::ensure!(
            self.away_library.as_deref() != Some(library_of(path)),
            "the root of its library is away"
        );
        let absolute = self.folder.join(path);
        if let Some(folder) = absolute.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(absolute)
    }

    fn try_step(&mut self, step: &FolderStep) -> anyhow::Result<()> {
        match step {
            FolderStep::Write {
                path,
                content,
                method: how,
            } => {
                let bytes = self.pictures.bytes_of(*content);
                let absolute = self.resolve_path(path)?;
                match how {
                    WriteMethod::InPlace => fs::write(absolute, bytes)?,
                    WriteMethod::TempThenRename => {
                        let temporary = format!("{}/.{}.part", parent_of(path), name_of(path));
                        let temporary = self.resolve_path(&temporary)?;
                        fs::write(&temporary, bytes)?;
                        fs::rename(temporary, absolute)?;
                    }
                    WriteMethod::KeepModifiedTime => {
                        let before = fs::metadata(&absolute)?.modified()?;
                        let mut file = OpenOptions::new()
                            .write(true)
                            .truncate(true)
                            .open(absolute)?;
                        file.write_all(&bytes)?;
                        file.set_modified(before)?;
                    }
                }
            }
            FolderStep::Copy { from, to } => {
                fs::copy(self.resolve_path(from)?, self.resolve_path(to)?)?;
            }
            FolderStep::Rename { from, to } => {
                fs::rename(self.resolve_path(from)?, self.resolve_path(to)?)?
            }
            FolderStep::Link { from, to } => {
                fs::hard_link(self.resolve_path(from)?, self.resolve_path(to)?)?
            }
            FolderStep::Remove { path } => fs::remove_file(self.resolve_path(path)?)?,
            FolderStep::RemoveFolder { path } => fs::remove_dir_all(self.resolve_path(path)?)?,
            FolderStep::Touch { path, seconds } => {
                let by = Duration::from_secs(seconds.unsigned_abs());
                let now = SystemTime::now();
                let time = if *seconds < 0 { now - by } else { now + by };
                let file = OpenOptions::new()
                    .write(true)
                    .open(self.resolve_path(path)?)?;
                file.set_modified(time)?;
            }
            FolderStep::BeginWrite { path, content } => {
                let bytes = self.pictures.bytes_of(*content);
                self.open_file = Some((File::create_new(self.resolve_path(path)?)?, bytes));
                self.write_more(3)?;
            }
            FolderStep::ContinueWrite => self.write_more(2)?,
            FolderStep::EndWrite => {
                self.write_more(1)?;
                self.open_file = None;
            }
            FolderStep::TakeRootAway { library } => {
                fs::rename(self.resolve_path(library)?, self.folder.join(AWAY_FOLDER))?;
                self.away_library = Some(library.clone());
            }
            FolderStep::PutRootBack => {
                let library = self.away_library.take().context("no root is away")?;
                fs::rename(self.folder.join(AWAY_FOLDER), self.folder.join(library))?;
            }
        }
        Ok(())
    }

    /// Writes the first of `parts` equal parts of the remaining bytes to the open file.
    fn write_more(&mut self, parts: usize) -> anyhow::Result<()> {
        let (file, bytes) = self.open_file.as_mut().context("no file is open")?;
        let rest = bytes.split_off(bytes.len().div_ceil(parts));
        file.write_all(bytes)?;
        *bytes = rest;
        Ok(())
    }
}

/// Returns the content hash of every file below `folder`, by relative path.
pub fn hash_files(folder: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut hash_by_path = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(&inner).with_context(|| inner.display().to_string())? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else {
                let relative = path.strip_prefix(folder)?;
                let relative = relative
                    .to_str()
                    .context("a file name is not UTF-8")?
                    .to_owned();
                hash_by_path.insert(relative, blake3::hash(&fs::read(&path)?).to_string());
            }
        }
    }
    Ok(hash_by_path)
}

//! Doing the planned steps to real folders, and reading what lies in them.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;

use super::content::Pictures;
use super::tree::{How, Step, library, name, parent};

/// The hand that changes the folders; one at a time.
pub struct Hand<'p> {
    folder: PathBuf,
    pictures: &'p Pictures,
    open: Option<(File, Vec<u8>)>,
    away: Option<String>,
}

/// Where a root lies while it is away: beside the libraries, so that a rename is enough.
const AWAY: &str = "away";

impl<'p> Hand<'p> {
    /// For the folder that holds the libraries.
    pub fn new(folder: &Path, pictures: &'p Pictures) -> Self {
        Self {
            folder: folder.to_owned(),
            pictures,
            open: None,
            away: None,
        }
    }

    /// Does one step.
    ///
    /// # Errors
    /// What the system says; none is expected.
    pub fn apply(&mut self, step: &Step) -> anyhow::Result<()> {
        self.try_apply(step).with_context(|| format!("{step:?}"))
    }

    /// Puts back what is away and closes what is open.
    ///
    /// # Errors
    /// What the system says.
    pub fn heal(&mut self) -> anyhow::Result<()> {
        self.open = None;
        if self.away.is_some() {
            self.apply(&Step::Back)?;
        }
        Ok(())
    }

    fn at(&self, path: &str) -> anyhow::Result<PathBuf> {
        anyhow::ensure!(
            self.away.as_deref() != Some(library(path)),
            "its library is away"
        );
        let at = self.folder.join(path);
        if let Some(folder) = at.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(at)
    }

    fn try_apply(&mut self, step: &Step) -> anyhow::Result<()> {
        match step {
            Step::Write { path, content, how } => {
                let bytes = self.pictures.bytes(*content);
                let at = self.at(path)?;
                match how {
                    How::Straight => fs::write(at, bytes)?,
                    How::Beside => {
                        let beside = format!("{}/.{}.part", parent(path), name(path));
                        let beside = self.at(&beside)?;
                        fs::write(&beside, bytes)?;
                        fs::rename(beside, at)?;
                    }
                    How::SameTime => {
                        let before = fs::metadata(&at)?.modified()?;
                        let mut file = OpenOptions::new().write(true).truncate(true).open(at)?;
                        file.write_all(&bytes)?;
                        file.set_modified(before)?;
                    }
                }
            }
            Step::Copy { from, to } => {
                fs::copy(self.at(from)?, self.at(to)?)?;
            }
            Step::Rename { from, to } => fs::rename(self.at(from)?, self.at(to)?)?,
            Step::Link { from, to } => fs::hard_link(self.at(from)?, self.at(to)?)?,
            Step::Remove { path } => fs::remove_file(self.at(path)?)?,
            Step::RemoveFolder { path } => fs::remove_dir_all(self.at(path)?)?,
            Step::Touch { path, seconds } => {
                let by = Duration::from_secs(seconds.unsigned_abs());
                let now = SystemTime::now();
                let time = if *seconds < 0 { now - by } else { now + by };
                let file = OpenOptions::new().write(true).open(self.at(path)?)?;
                file.set_modified(time)?;
            }
            Step::Begin { path, content } => {
                let bytes = self.pictures.bytes(*content);
                self.open = Some((File::create_new(self.at(path)?)?, bytes));
                self.write_more(3)?;
            }
            Step::More => self.write_more(2)?,
            Step::End => {
                self.write_more(1)?;
                self.open = None;
            }
            Step::Away { library } => {
                fs::rename(self.at(library)?, self.folder.join(AWAY))?;
                self.away = Some(library.clone());
            }
            Step::Back => {
                let library = self.away.take().context("nothing is away")?;
                fs::rename(self.folder.join(AWAY), self.folder.join(library))?;
            }
        }
        Ok(())
    }

    /// The next of so many parts of the file that is open.
    fn write_more(&mut self, parts: usize) -> anyhow::Result<()> {
        let (file, bytes) = self.open.as_mut().context("no file is open")?;
        let rest = bytes.split_off(bytes.len().div_ceil(parts));
        file.write_all(bytes)?;
        *bytes = rest;
        Ok(())
    }
}

/// Every file of the libraries in `folder`, by its path from there, with the hash of its bytes.
///
/// # Errors
/// When something can't be read.
pub fn hashes(folder: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(&inner).with_context(|| inner.display().to_string())? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else {
                let below = path.strip_prefix(folder)?;
                let below = below.to_str().context("a name is no UTF-8")?.to_owned();
                found.insert(below, blake3::hash(&fs::read(&path)?).to_string());
            }
        }
    }
    Ok(found)
}

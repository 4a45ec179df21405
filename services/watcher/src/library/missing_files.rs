//! Files that are not where they were. They may be found elsewhere, as may their copies; only when
//! neither happens are their rows removed. When the root itself is missing, no file is.

use super::rows::mark_missing;
use super::tick::Tick;
use super::{Library, Result};
use crate::catalog::CatalogRow;
use crate::disk::FileKind;

impl Library {
    /// Records that nothing exists at `path`: neither a file, nor a folder with files below it.
    pub(super) fn record_missing_path(&mut self, path: &[u8], tick: &mut Tick<'_>) -> Result<()> {
        if let Some(row) = self.row_at(path, tick.catalog)? {
            self.record_missing_file(row, tick)?;
        }
        self.record_missing_folder(path, tick)
    }

    /// If there is no folder at `path`, records that the files listed below it are missing.
    pub fn record_missing_folder(&mut self, path: &[u8], tick: &mut Tick<'_>) -> Result<()> {
        let folders = tick.catalog.folders_at_and_below(self.key, path)?;
        if folders.is_empty()
            || !matches!(self.root.stat_below(path), Ok(kind) if kind != Some(FileKind::Folder))
        {
            return Ok(());
        }
        for folder in folders {
            for name in tick.catalog.file_names_in(self.key, &folder)? {
                if let Some(row) = tick.catalog.file_at(self.key, &folder, &name)? {
                    self.record_missing_file(row, tick)?;
                }
            }
        }
        Ok(())
    }

    /// Records that a file is missing, unless the root is: then the mount is gone, not the file.
    pub(super) fn record_missing_file(
        &mut self,
        row: CatalogRow,
        tick: &mut Tick<'_>,
    ) -> Result<()> {
        if !self.root.is_present() {
            self.report_root_missing(tick);
            return Ok(());
        }
        let path = row.path();
        mark_missing(row, tick.catalog, tick.now)?;
        self.resend_described_pictures(&path, None, tick)
    }
}

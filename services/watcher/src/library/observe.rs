//! Observing a path: compare it with the catalog, and record what that means.
//!
//! Images keep their ids through moves and edits. A file at a path is, in this order: the image that
//! was there (edited or not); an image that was elsewhere and is not any more, recognised by its
//! inode; a missing image that was there before; a missing image with the same bytes; else a new
//! image.

use lookalike_proto::Generation;

use super::id::LibraryId;
use super::libraries::Libraries;
use super::rows::{mark_missing, record_change};
use super::tick::Tick;
use crate::catalog::{self, CatalogRow, FileState};
use crate::content_check::{CheckedContent, ContentCheck, ContentCheckReport};
use crate::disk::FileStat;
use crate::metrics;
use crate::paths::split_path;

type Result<T> = std::result::Result<T, catalog::Error>;

impl Libraries {
    /// Observes `path`, every path that moved images left, and a path's other spelling. `is_complete`: the file's writer is
    /// known to have finished.
    pub fn observe_path(
        &mut self,
        id: LibraryId,
        path: &[u8],
        is_complete: bool,
        tick: &mut Tick<'_>,
    ) -> Result<()> {
        let library = &mut self[id];
        if !library.root.is_present() {
            // What is there now does not count until the root is verified.
            library.report_root_missing(tick);
            return Ok(());
        }
        library.observation_count += 1;
        self.observe_single_path(id, path, is_complete, tick)?;
        while let Some((id, path)) = self.vacated_paths.pop() {
            self.observe_single_path(id, &path, false, tick)?;
        }
        Ok(())
    }

    fn observe_single_path(
        &mut self,
        id: LibraryId,
        path: &[u8],
        is_complete: bool,
        tick: &mut Tick<'_>,
    ) -> Result<()> {
        match self[id].inspect_path(path, is_complete, tick)? {
            Some(stat) => self.record_settled_file(id, path, stat, is_complete, tick),
            None => {
                // The system may report a change under the spelling that a program used.
                if let Some(listed) = self[id].root.take_listed_spelling(path) {
                    self.vacated_paths.push((id, listed));
                }
                Ok(())
            }
        }
    }

    /// Records a complete file, unless the catalog lists it already. `was_written`: a program has
    /// just finished writing it.
    fn record_settled_file(
        &mut self,
        id: LibraryId,
        path: &[u8],
        stat: FileStat,
        was_written: bool,
        tick: &mut Tick<'_>,
    ) -> Result<()> {
        if let Some(mut row) = self[id].row_at(path, tick.catalog)? {
            let is_unchanged =
                stat.is_unchanged_since(&row.stat) && row.state != FileState::Ignored;
            if is_unchanged && !(was_written && stat.may_hide_change(tick.now.wall_nanos())) {
                if stat != row.stat {
                    // After a new mount, the same file has another device number.
                    row.stat = stat;
                    tick.catalog.update_row(&row)?;
                }
                return Ok(());
            }
            if stat.is_only_touched_since(&row.stat) && has_comparable_content(&row) {
                tick.content_checks.queue_check(ContentCheck {
                    image_id: row.id,
                    full_path: self[id].full_path(path),
                    path: path.to_vec(),
                    stat,
                });
                return Ok(());
            }
            if !stat.is_same_inode(&row.stat)
                && let Some(moved) = self.find_moved_row(id, path, &stat, tick.catalog)?
                && moved.was_sent
            {
                // Another image replaced this one (or the two were swapped). An image without a
                // sent event may be a program's way to save this one.
                mark_missing(row, tick.catalog, tick.now)?;
                return self.move_row(moved, id, path, stat, tick);
            }
            // Edited in place, or replaced as editors do: the same image with other content.
            self.queue_hard_links(id, path, &stat, tick.catalog)?;
            return record_change(row, stat, tick.catalog, tick.now);
        }
        if let Some(moved) = self.find_moved_row(id, path, &stat, tick.catalog)? {
            return self.move_row(moved, id, path, stat, tick);
        }
        let (dir, name) = split_path(path);
        if let Some(row) = tick.catalog.missing_file_at(self[id].key, dir, name)? {
            return self.move_row(row, id, path, stat, tick);
        }
        if let Some(copied) = self.find_copied_row(id, path, &stat, tick.catalog)? {
            return self.move_row(copied, id, path, stat, tick);
        }
        let mut row = self[id].new_row(path, stat, tick.catalog, tick.now)?;
        row.begin_generation(tick.now);
        tick.catalog.insert_row(&row)
    }

    /// Records what the comparison of a file's content with the catalog found.
    pub fn record_content_check(
        &mut self,
        report: &ContentCheckReport,
        tick: &mut Tick<'_>,
    ) -> Result<()> {
        let ContentCheckReport { check, content } = report;
        tick.content_checks.finish_check(&check.image_id);
        let Some(mut row) = tick.catalog.row_by_id(&check.image_id)? else {
            return Ok(());
        };
        let id = self.id_of_key(row.library);
        let Some(id) = id.filter(|id| self[*id].is_active()) else {
            return Ok(());
        };
        let is_current = row.is_present
            && row.path() == check.path
            && check.stat.is_only_touched_since(&row.stat)
            && has_comparable_content(&row);
        let result = match content {
            _ if !is_current => "replaced",
            CheckedContent::Replaced => {
                self.observe_path(id, &check.path, false, tick)?;
                "replaced"
            }
            CheckedContent::Hash(hash) if row.content_hash == Some(*hash) => {
                row.stat = check.stat;
                tick.catalog.update_row(&row)?;
                "same"
            }
            // A user may have taken the right to read it, which its event will show.
            CheckedContent::Hash(_) | CheckedContent::Unreadable => {
                record_change(row, check.stat, tick.catalog, tick.now)?;
                "changed"
            }
        };
        metrics::CONTENT_CHECKS.with_label_values(&[result]).inc();
        Ok(())
    }

    /// Moves an image to a path, in another library if need be.
    fn move_row(
        &mut self,
        mut row: CatalogRow,
        id: LibraryId,
        path: &[u8],
        stat: FileStat,
        tick: &mut Tick<'_>,
    ) -> Result<()> {
        let (from_library, from_path, was_present) = (row.library, row.path(), row.is_present);
        let (dir, name) = split_path(path);
        row.library = self[id].key;
        row.dir = dir.to_vec();
        row.name = name.to_vec();
        row.is_present = true;
        row.missing_since_ns = 0;
        row.is_removing = false;
        record_change(row, stat, tick.catalog, tick.now)?;
        // Another file may be where it was. That path is observed later, not recursively, because
        // a chain of renames may be as long as the folder.
        if let Some(from_id) = self.id_of_key(from_library)
            && was_present
            && (from_id, &from_path[..]) != (id, path)
        {
            self.vacated_paths.push((from_id, from_path));
        }
        Ok(())
    }
}

/// Whether the outcome of a row's newest generation contained the hash of its content, so that a
/// comparison can show that it is still right.
fn has_comparable_content(row: &CatalogRow) -> bool {
    let has_outcome = !row.is_unsent && row.in_flight == Generation::NONE;
    let is_about_content = matches!(
        row.state,
        FileState::Indexed | FileState::Failed | FileState::Discarded
    );
    has_outcome && is_about_content && row.content_hash.is_some()
}

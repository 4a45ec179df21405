//! Running scans: one step after the other, each followed by the observation of what it found.

use super::libraries::Libraries;
use super::scan_folder::UnreadableEntry;
use super::scan_queue::Scan;
use super::tick::Tick;
use crate::catalog;
use crate::paths::join_path;

type Result<T> = std::result::Result<T, catalog::Error>;

impl Libraries {
    /// Runs one step of the next scan; false if there is none.
    pub fn step_scan(&mut self, tick: &mut Tick<'_>) -> Result<bool> {
        let Some(mut scan) = tick.scans.pop_next_scan() else {
            return Ok(false);
        };
        if !self.advance_scan(&mut scan, tick)? {
            tick.scans.put_scan_back(scan);
        }
        Ok(true)
    }

    /// Runs one step of a scan; true if the scan has ended.
    fn advance_scan(&mut self, scan: &mut Scan, tick: &mut Tick<'_>) -> Result<bool> {
        let id = scan.library;
        if !scan.has_begun {
            if scan.is_full() {
                self.check_root_overlap(id);
            }
            return self[id].begin_scan(scan, tick);
        }
        if let Some(mut folder) = scan.open_folder.take() {
            let compared = self[id].compare_entries(scan, &mut folder, tick);
            if !compared.is_last {
                scan.open_folder = Some(folder);
            }
            for path in compared.deep_folders {
                self[id].record_deep_folder(&path, tick)?;
            }
            for entry in compared.unreadable {
                let UnreadableEntry { path, error, .. } = &entry;
                if entry.is_folder {
                    self[id].record_unreadable_folder(scan, path, error, tick)?;
                } else {
                    self[id].record_unreadable_file(path, error, tick)?;
                }
            }
            for path in compared.changed {
                self.observe_path(id, &path, false, tick)?;
            }
            return Ok(false);
        }
        if let Some(folder) = scan.pending_folders.pop() {
            scan.unvisited_folders.remove(&folder.path);
            scan.open_folder = self[id].open_folder(scan, folder, tick)?;
            return Ok(false);
        }
        let unvisited = scan.unvisited_folders.drain();
        scan.missing_folders.extend(unvisited);
        // Cataloged folders that no folder led to: deleted, or not entered any more.
        if let Some(folder) = scan.missing_folders.pop() {
            for name in tick.catalog.file_names_in(self[id].key, &folder)? {
                self.observe_path(id, &join_path(&folder, &name), false, tick)?;
            }
            return Ok(false);
        }
        if scan.is_full() {
            self[id].finish_full_scan(scan, tick)?;
        }
        Ok(true)
    }
}

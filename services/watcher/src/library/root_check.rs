//! Whether a library's root may be scanned. A root that is missing or was replaced deletes nothing.

use super::tick::Tick;
use super::{Library, Result, record_root_path};
use crate::catalog::{Catalog, CatalogRow};
use crate::disk::{self, FileKind, FolderIdentity};
use crate::notify::filesystem;

/// Cataloged files searched for in a root that is another folder than before.
const MAX_PROOF_FILES: usize = 256;

impl Library {
    /// Whether the root may be scanned: it is the folder that it was, or some of the cataloged
    /// files are in it. Sets or clears the degraded reason `root_missing`.
    pub(super) fn verify_root(&mut self, tick: &mut Tick<'_>) -> Result<bool> {
        self.missed_entries = false;
        if self.root.follow_links() {
            self.root.mount_id = None;
            self.folder_rules = None;
            self.watch_schedule.watches.move_root(self.root.path());
        }
        if self.overlapping.is_some() {
            self.root.is_turned = true;
            self.report_root_missing(tick);
            return Ok(false);
        }
        // Only the catalog knows what was accepted before, also after a restart or a discarded tick.
        let recorded = tick.catalog.root_path(self.key)?;
        let is_recorded = recorded.as_deref() == Some(self.root.path());
        self.root.is_turned = recorded.is_some() && !is_recorded;
        let Some(current) = FolderIdentity::from_path(self.root.path()) else {
            self.report_root_missing(tick);
            return Ok(false);
        };
        let mount_id = filesystem::mount_id(self.root.path());
        let is_proven = self
            .root
            .identity
            .is_some_and(|known| known.is_same_folder(&current))
            && self.root.is_on_same_mount(&current, mount_id);
        if self.root.is_turned && !is_proven && self.lacks_all_files(tick.catalog)? {
            self.report_root_missing(tick);
            return Ok(false);
        }
        if !is_recorded {
            self.accept_root_path(tick.catalog)?;
        }
        if !is_proven && !self.contains_cataloged_files(tick.catalog)? {
            self.report_root_missing(tick);
            return Ok(false);
        }
        self.root.mount_id = mount_id;
        self.root.is_turned = false;
        if self.root.identity != Some(current) {
            self.set_root_identity(current, tick.catalog)?;
        }
        self.clear_degraded("root_missing");
        Ok(true)
    }

    /// Whether some of the cataloged files are in the root with their sizes and times (cameras use
    /// the same names on all cards), whatever it is mounted from.
    ///
    /// If no folder was seen before, a user chose this one, and rows of another folder are no
    /// evidence against it. Rows imported from the index do concern this folder.
    fn contains_cataloged_files(&self, catalog: &Catalog) -> Result<bool> {
        let mut rows = catalog.sample_rows(self.key, MAX_PROOF_FILES)?;
        if self.root.identity.is_none() {
            rows.retain(|row| row.stat.is_from_index());
        }
        let is_found = |row: &CatalogRow| {
            matches!(
                disk::stat_path(&self.full_path(&row.path())),
                Ok(Some(FileKind::File(stat) | FileKind::Other { stat, .. }))
                    if stat.matches_index_stat(&row.stat)
            )
        };
        Ok(rows.is_empty() || rows.iter().any(is_found))
    }

    /// Whether the root is empty although files are cataloged. A link that leads to another folder
    /// may lead to the mount point of a disk that is away, so an empty folder proves nothing.
    fn lacks_all_files(&self, catalog: &Catalog) -> Result<bool> {
        let entries = std::fs::read_dir(self.root.path());
        let has_entries = entries.is_ok_and(|mut entries| matches!(entries.next(), Some(Ok(_))));
        Ok(!has_entries && !catalog.sample_rows(self.key, 1)?.is_empty())
    }

    /// Accepts the folder to which a user turned the root's symbolic link. Files that are not in it
    /// are then missing, and the mass-delete guard protects them.
    fn accept_root_path(&mut self, catalog: &mut Catalog) -> Result<()> {
        record_root_path(&self.name, self.key, &self.root, catalog)?;
        self.root.identity = catalog.library_record(self.key)?.root_identity;
        Ok(())
    }

    fn set_root_identity(&mut self, identity: FolderIdentity, catalog: &mut Catalog) -> Result<()> {
        catalog.set_root_identity(self.key, identity)?;
        self.root.identity = Some(identity);
        Ok(())
    }

    /// Accepts the root's current folder, if it was another one, and that files are missing from
    /// it. False if no folder exists there.
    pub(super) fn confirm_root(&mut self, tick: &mut Tick<'_>) -> Result<bool> {
        let Some(current) = FolderIdentity::from_path(self.root.path()) else {
            return Ok(false);
        };
        self.accept_root_path(tick.catalog)?;
        self.set_root_identity(current, tick.catalog)?;
        self.root.is_turned = false;
        self.root.mount_id = filesystem::mount_id(self.root.path());
        self.clear_degraded("root_missing");
        self.confirm_missing_files(tick)?;
        self.plan_full_scan("a user confirmed the folder's content", tick);
        Ok(true)
    }

    pub(super) fn report_root_missing(&mut self, tick: &Tick<'_>) {
        self.is_fully_scanned = false;
        if let Some(other) = &self.overlapping {
            let detail = format!(
                "The link {} leads to {}, which overlaps the folder of library {other}. No file may \
                 be in two libraries, so this one is not scanned, and its rows stay in the index. \
                 Let the link lead to another folder.",
                self.root.given_path().display(),
                self.root.path().display(),
            );
            self.set_degraded("root_missing", detail, tick);
        } else if !self.is_degraded("root_missing") {
            let detail = format!(
                "{} does not exist, or another folder is there now. Nothing is removed from the \
                 index until the indexed folder is back, or `lookalike confirm {}` accepts this \
                 one.",
                self.root.path().display(),
                self.name
            );
            self.set_degraded("root_missing", detail, tick);
        }
    }
}

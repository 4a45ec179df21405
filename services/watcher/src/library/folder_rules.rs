//! Which folders of a library are entered, and the ignore rules in each.

use super::Library;
use super::tick::Tick;
use crate::ignore_files::IgnoreRules;
use crate::paths::{ancestors_and_self, join_path, split_path};
use crate::rules;

impl Library {
    /// Returns the rules in a folder, or `None` if it is not entered: it or a folder above it is
    /// hidden or ignored. Reads the disk once per tick.
    pub fn rules_if_entered(&mut self, folder: &[u8], tick: &mut Tick<'_>) -> Option<IgnoreRules> {
        if let Some((cached_folder, rules)) = &self.folder_rules
            && cached_folder == folder
        {
            return rules.clone();
        }
        let rules = self.compute_folder_rules(folder, tick);
        self.folder_rules = Some((folder.to_vec(), rules.clone()));
        rules
    }

    fn compute_folder_rules(&mut self, folder: &[u8], tick: &mut Tick<'_>) -> Option<IgnoreRules> {
        let mut rules = self.read_folder_rules(b"", &IgnoreRules::default(), false, tick);
        for path in ancestors_and_self(folder) {
            let name = split_path(path).1;
            let is_entered = rules::is_entered_folder(name, tick.settings.enter_system_folders);
            if !is_entered || rules.find_ignoring_rule(path, true).is_some() {
                return None;
            }
            rules = self.read_folder_rules(path, &rules, false, tick);
        }
        Some(rules)
    }

    /// Returns the rules in a folder, given those of its parent. If the folder's own file changed,
    /// plans a scan of everything below, unless one is running (`is_scanning`).
    pub(super) fn read_folder_rules(
        &mut self,
        folder: &[u8],
        above: &IgnoreRules,
        is_scanning: bool,
        tick: &mut Tick<'_>,
    ) -> IgnoreRules {
        let read =
            self.ignore_files
                .rules_for_folder(self.root.path(), folder, above, tick.settings);
        if let Some((name, error)) = &read.error {
            self.report_unreadable(&join_path(folder, name), error, tick);
        }
        if read.has_changed && !is_scanning {
            self.plan_scan_below(folder, tick);
        }
        read.rules
    }

    /// Plans a scan of everything at and below a folder whose rules changed.
    pub fn plan_scan_below(&mut self, folder: &[u8], tick: &mut Tick<'_>) {
        self.folder_rules = None;
        if folder.is_empty() {
            self.plan_full_scan("ignore rules changed", tick);
        } else {
            tick.scans
                .plan_folder_scan(self.id, folder, tick.settings.settle_interval, tick.now);
        }
    }
}

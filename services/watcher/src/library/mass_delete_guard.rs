//! The mass-delete guard: when very many files of a library are missing at once, a disk may have
//! failed, a part of a mount may be gone, or a user made a mistake. Then nothing is removed from the
//! index until the files are back, a user confirms, or `watch.mass_delete_confirm_after` is over.
//!
//! The held files are the catalog's missing rows. The wait counts from when each went missing, so
//! it continues over restarts.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::catalog::{self, Catalog, LibraryKey, MissingPosition};
use crate::clock::{Now, duration_nanos};
use crate::settings::Settings;

type Result<T> = std::result::Result<T, catalog::Error>;

/// Missing files are counted at most this often. Must be shorter than the grace of the files that
/// go missing meanwhile.
const RECOUNT_INTERVAL: Duration = Duration::from_millis(250);

/// How long files that go missing one after the other are held, to see how many they will be.
const BURST_TIMEOUT_NS: i64 = 60_000_000_000;

/// Files removed within this time are counted together.
const COUNTING_WINDOW: Duration = Duration::from_secs(600);

/// Removals within this time share one entry.
const REMOVAL_BUCKET_WIDTH: Duration = Duration::from_secs(1);

/// The guard of one library.
#[derive(Default)]
pub struct MassDeleteGuard {
    state: GuardState,
    next_count: Option<Instant>,
    /// Up to where held rows were compared with possible copies.
    copies_checked_until: Option<MissingPosition>,
    /// How many files were removed without being held, and when: a deletion that takes minutes is
    /// a mass deletion, too.
    removed: VecDeque<(Instant, u64)>,
    /// A user confirmed that what the next full scan finds missing is deleted.
    is_confirmed: bool,
}

/// Whether missing files are held back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GuardState {
    /// Missing files are removed.
    #[default]
    Inactive,
    /// More may be going missing right now: they are held briefly.
    Counting,
    /// Too many are missing.
    Holding,
}

/// Result of counting the missing files.
pub struct MissingCount {
    pub state: GuardState,
    /// Missing and recently removed files.
    pub missing: u64,
    /// All files of the library, with the missing ones.
    pub total: u64,
}

impl MassDeleteGuard {
    /// Whether files are held back.
    pub fn is_holding(&self) -> bool {
        self.state == GuardState::Holding
    }

    /// Counts the missing files, if that is due, and enters the resulting state. `before_ns`:
    /// files that went missing earlier have used up their grace.
    pub fn recount_if_due(
        &mut self,
        library: LibraryKey,
        before_ns: i64,
        catalog: &Catalog,
        settings: &Settings,
        now: Now,
    ) -> Result<Option<MissingCount>> {
        if self.next_count.is_some_and(|at| at > now.mono) {
            return Ok(None);
        }
        let interval = RECOUNT_INTERVAL.min(settings.move_timeout / 2);
        self.next_count = Some(now.mono + interval);
        let count = self.count_missing(library, before_ns, catalog, settings, now)?;
        self.state = count.state;
        if count.state != GuardState::Holding {
            self.copies_checked_until = None;
        }
        Ok(Some(count))
    }

    fn count_missing(
        &mut self,
        library: LibraryKey,
        before_ns: i64,
        catalog: &Catalog,
        settings: &Settings,
        now: Now,
    ) -> Result<MissingCount> {
        let waiting = catalog.count_missing(library, before_ns)?;
        let missing = waiting + self.recently_removed(now.mono);
        let counts = catalog.file_counts(library)?;
        let total = missing + counts.indexed + counts.failed + counts.in_flight;
        let min_files = settings.mass_delete_min_files as u64;
        let share = missing as f64 / total.max(1) as f64;
        let grace_ns = duration_nanos(settings.move_timeout);
        let burst_ns = now.wall_nanos().saturating_sub(grace_ns.saturating_mul(4));
        let state = if waiting > 0 && missing > min_files && share > settings.mass_delete_share {
            GuardState::Holding
        } else if catalog.count_missing(library, i64::MAX)? > min_files
            && catalog
                .last_missing_ns(library)?
                .is_some_and(|last| last > burst_ns)
        {
            GuardState::Counting
        } else {
            GuardState::Inactive
        };
        Ok(MissingCount {
            state,
            missing,
            total,
        })
    }

    /// Rows that went missing before the returned time are removed although files are held back;
    /// `None`: no file is held back.
    pub fn removal_cutoff_ns(&self, settings: &Settings, now: Now) -> Option<i64> {
        let confirm_after_ns = duration_nanos(settings.mass_delete_confirm_after);
        let wait_ns = match self.state {
            GuardState::Inactive => return None,
            GuardState::Counting => BURST_TIMEOUT_NS.min(confirm_after_ns),
            GuardState::Holding => confirm_after_ns,
        };
        Some(now.wall_nanos().saturating_sub(wait_ns))
    }

    /// Records that so many files were removed without being held.
    pub fn record_removed(&mut self, count: u64, now: Instant) {
        if count == 0 {
            return;
        }
        match self.removed.back_mut() {
            Some((at, sum)) if now.saturating_duration_since(*at) < REMOVAL_BUCKET_WIDTH => {
                *sum += count;
            }
            _ => self.removed.push_back((now, count)),
        }
    }

    fn recently_removed(&mut self, now: Instant) -> u64 {
        let is_old =
            |(at, _): &(Instant, u64)| now.saturating_duration_since(*at) > COUNTING_WINDOW;
        while self.removed.front().is_some_and(is_old) {
            self.removed.pop_front();
        }
        self.removed.iter().map(|(_, count)| count).sum()
    }

    /// Where the comparison of held rows with possible copies continues.
    pub fn next_copy_check(&self, start: MissingPosition) -> MissingPosition {
        self.copies_checked_until.unwrap_or(start)
    }

    pub fn set_copies_checked(&mut self, until: MissingPosition) {
        self.copies_checked_until = Some(until);
    }

    /// Nothing is missing (any more).
    pub fn release_files(&mut self) {
        self.state = GuardState::Inactive;
        self.copies_checked_until = None;
        self.next_count = None;
    }

    /// Confirms the deletion of what the next full scan finds missing.
    pub fn confirm_deletion(&mut self) {
        self.is_confirmed = true;
    }

    /// Whether a user confirmed a deletion since the last call.
    pub fn take_confirmation(&mut self) -> bool {
        std::mem::take(&mut self.is_confirmed)
    }

    /// Forgets the counts after a confirmation.
    pub fn reset_counts(&mut self) {
        self.next_count = None;
        self.removed.clear();
    }
}

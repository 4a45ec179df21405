//! The brake on mass deletion: when very many files of a library are gone at once, it may be that
//! a disk failed, a mount went in part, or somebody slipped. So nothing is removed from the index
//! until they are back, somebody confirms, or `watch.mass_delete_confirm_after` is over.
//!
//! The files that are waited for are the catalog's vanished rows, and the wait counts from when
//! each vanished, so it goes on over restarts.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::catalog;
use crate::keeper::{Keeper, Now};

type Result<T> = std::result::Result<T, catalog::Error>;

/// How often the vanished files are counted, at most: it must be before the grace is over of those
/// that vanished since.
const RECOUNT_INTERVAL: Duration = Duration::from_millis(250);

/// Files that vanish one after the other are waited for this long, to see how many it will be.
const BURST_TIMEOUT_NS: i64 = 60_000_000_000;

/// Files that go within this time count together.
const COUNTING_WINDOW: Duration = Duration::from_secs(600);

/// The brake of one library.
#[derive(Default)]
pub(crate) struct MassDeleteGuard {
    state: GuardState,
    /// When the files are counted again.
    next_count: Option<Instant>,
    /// Up to where held rows were looked at for copies of them: when they vanished, and their number.
    pub(crate) copies_checked_until: Option<(i64, i64)>,
    /// How many were removed without being held back, and when: a deletion that goes on for minutes
    /// is one, too.
    removed: VecDeque<(Instant, u64)>,
    /// Somebody said that what the next whole comparison misses is meant to be gone.
    is_confirmed: bool,
}

/// Whether vanished files are held back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum GuardState {
    /// They are removed.
    #[default]
    Open,
    /// More may be vanishing right now: not yet.
    Counting,
    /// Too many vanished.
    Holding,
}

impl MassDeleteGuard {
    /// So many are removed now, without having been held back.
    pub(crate) fn record_removed(&mut self, count: u64, now: Instant) {
        if count == 0 {
            return;
        }
        match self.removed.back_mut() {
            Some((at, sum)) if now.saturating_duration_since(*at) < Duration::from_secs(1) => {
                *sum += count;
            }
            _ => self.removed.push_back((now, count)),
        }
    }

    pub(crate) fn recently_removed(&mut self, now: Instant) -> u64 {
        let is_old =
            |(at, _): &(Instant, u64)| now.saturating_duration_since(*at) > COUNTING_WINDOW;
        while self.removed.front().is_some_and(is_old) {
            self.removed.pop_front();
        }
        self.removed.iter().map(|(_, count)| count).sum()
    }
}

impl Keeper {
    /// From before when rows that vanished are removed although they are held back; `None`:
    /// none is held back. `before_ns`: of rows whose grace is over.
    pub(crate) fn update_guard(
        &mut self,
        library: usize,
        before_ns: i64,
        now: Now,
    ) -> Result<Option<i64>> {
        let held = &mut self.libraries[library];
        if held
            .mass_delete_guard
            .next_count
            .is_none_or(|at| at <= now.mono)
        {
            let soon = RECOUNT_INTERVAL.min(self.settings.move_grace / 2);
            held.mass_delete_guard.next_count = Some(now.mono + soon);
            let hold = self.count_missing_files(library, before_ns, now)?;
            self.set_guard_state(library, hold, now);
        }
        Ok(match self.libraries[library].mass_delete_guard.state {
            GuardState::Open => None,
            GuardState::Counting => {
                let wait = BURST_TIMEOUT_NS.min(self.confirm_after_ns());
                Some(now.wall_nanos().saturating_sub(wait))
            }
            GuardState::Holding => Some(now.wall_nanos().saturating_sub(self.confirm_after_ns())),
        })
    }

    pub(crate) fn count_missing_files(
        &mut self,
        library: usize,
        before_ns: i64,
        now: Now,
    ) -> Result<(GuardState, u64, u64)> {
        let key = self.libraries[library].key;
        let waiting = self.catalog.count_missing(key, before_ns)?;
        let vanished = waiting
            + self.libraries[library]
                .mass_delete_guard
                .recently_removed(now.mono);
        let counts = self.catalog.file_counts(key)?;
        let all = vanished + counts.indexed + counts.failed + counts.in_flight;
        let most = self.settings.mass_delete_min_files as u64;
        let share = vanished as f64 / all.max(1) as f64;
        let hold = if waiting > 0 && vanished > most && share > self.settings.mass_delete_share {
            GuardState::Holding
        } else if self.catalog.count_missing(key, i64::MAX)? > most
            && self.catalog.last_missing_ns(key)?.is_some_and(|last| {
                last > now
                    .wall_nanos()
                    .saturating_sub(duration_nanos(self.settings.move_grace).saturating_mul(4))
            })
        {
            GuardState::Counting
        } else {
            GuardState::Open
        };
        Ok((hold, vanished, all))
    }

    pub(crate) fn set_guard_state(
        &mut self,
        library: usize,
        (hold, vanished, all): (GuardState, u64, u64),
        now: Now,
    ) {
        let brake = &mut self.libraries[library].mass_delete_guard;
        brake.state = hold;
        if hold != GuardState::Holding {
            brake.copies_checked_until = None;
            return self.clear_degraded(library, "mass_delete");
        }
        let name = &self.libraries[library].name;
        let wait = self.settings.mass_delete_confirm_after;
        let detail = format!(
            "{vanished} of {all} files have vanished. They stay in the index until they are back, \
             `lookalike confirm {name}` says that they are meant to be gone, or {} minutes are over \
             (watch.mass_delete_confirm_after).",
            wait.as_secs().div_ceil(60)
        );
        self.set_degraded(library, "mass_delete", detail, now);
    }

    /// Nothing is missing from a library (any more).
    pub(crate) fn release_guard(&mut self, library: usize) {
        let brake = &mut self.libraries[library].mass_delete_guard;
        (brake.state, brake.copies_checked_until, brake.next_count) =
            (GuardState::Open, None, None);
        self.clear_degraded(library, "mass_delete");
    }

    /// Whether a library's files are held back.
    pub(crate) fn is_holding_deletes(&self, library: usize) -> bool {
        self.libraries[library].mass_delete_guard.state == GuardState::Holding
    }

    /// What vanished is meant to be gone, and so is what the comparison that comes now misses.
    pub(crate) fn confirm_missing_files(&mut self, library: usize, now: Now) -> Result<()> {
        self.libraries[library].mass_delete_guard.is_confirmed = true;
        self.expire_missing_files(library, now)
    }

    /// A whole comparison is over.
    pub(crate) fn apply_confirmation(&mut self, library: usize, now: Now) -> Result<()> {
        if std::mem::take(&mut self.libraries[library].mass_delete_guard.is_confirmed) {
            self.expire_missing_files(library, now)?;
        }
        Ok(())
    }

    /// As if the wait for what vanished until now was over: that is kept in the catalog.
    pub(crate) fn expire_missing_files(&mut self, library: usize, now: Now) -> Result<()> {
        let held = &mut self.libraries[library];
        held.mass_delete_guard.next_count = None;
        held.mass_delete_guard.removed.clear();
        let key = held.key;
        let long_ago = now.wall_nanos().saturating_sub(self.confirm_after_ns()) - 1;
        self.catalog.cap_missing_since(key, long_ago)
    }

    pub(crate) fn confirm_after_ns(&self) -> i64 {
        duration_nanos(self.settings.mass_delete_confirm_after)
    }
}

pub(crate) fn duration_nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

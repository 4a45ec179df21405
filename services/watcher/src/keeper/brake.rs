//! The brake on mass deletion: when very many files of a library are gone at once, it may be that
//! a disk failed, a mount went in part, or somebody slipped. So nothing is removed from the index
//! until they are back, somebody confirms, or `watch.brake_wait` is over.
//!
//! The files that are waited for are the catalog's vanished rows, and the wait counts from when
//! each vanished, so it goes on over restarts.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Keeper, Now};
use crate::catalog;

type Result<T> = std::result::Result<T, catalog::Error>;

/// How often the vanished files are counted, at most: it must be before the grace is over of those
/// that vanished since.
const COUNT_AGAIN: Duration = Duration::from_millis(250);

/// Files that vanish one after the other are waited for this long, to see how many it will be.
const STILL_GOING_NS: i64 = 60_000_000_000;

/// Files that go within this time count together.
const TOGETHER: Duration = Duration::from_secs(600);

/// The brake of one library.
#[derive(Default)]
pub(super) struct Brake {
    state: Hold,
    /// When the files are counted again.
    count_again: Option<Instant>,
    /// Up to where held rows were looked at for copies of them: when they vanished, and their number.
    pub(super) looked: Option<(i64, i64)>,
    /// How many were removed without being held back, and when: a deletion that goes on for minutes
    /// is one, too.
    gone: VecDeque<(Instant, u64)>,
    /// Somebody said that what the next whole comparison misses is meant to be gone.
    confirmed: bool,
}

/// Whether vanished files are held back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Hold {
    /// They are removed.
    #[default]
    No,
    /// More may be vanishing right now: not yet.
    More,
    /// Too many vanished.
    On,
}

impl Brake {
    /// So many are removed now, without having been held back.
    pub(super) fn let_go(&mut self, count: u64, now: Instant) {
        if count == 0 {
            return;
        }
        match self.gone.back_mut() {
            Some((at, sum)) if now.saturating_duration_since(*at) < Duration::from_secs(1) => {
                *sum += count;
            }
            _ => self.gone.push_back((now, count)),
        }
    }

    fn gone(&mut self, now: Instant) -> u64 {
        let is_old = |(at, _): &(Instant, u64)| now.saturating_duration_since(*at) > TOGETHER;
        while self.gone.front().is_some_and(is_old) {
            self.gone.pop_front();
        }
        self.gone.iter().map(|(_, count)| count).sum()
    }
}

impl Keeper {
    /// From before when rows that vanished are removed although they are held back; `None`:
    /// none is held back. `before_ns`: of rows whose grace is over.
    pub(super) fn brake(
        &mut self,
        library: usize,
        before_ns: i64,
        now: Now,
    ) -> Result<Option<i64>> {
        let held = &mut self.libraries[library];
        if held.brake.count_again.is_none_or(|at| at <= now.mono) {
            let soon = COUNT_AGAIN.min(self.settings.move_grace / 2);
            held.brake.count_again = Some(now.mono + soon);
            let hold = self.count_for_brake(library, before_ns, now)?;
            self.set_brake(library, hold, now);
        }
        Ok(match self.libraries[library].brake.state {
            Hold::No => None,
            Hold::More => {
                let wait = STILL_GOING_NS.min(self.brake_wait_ns());
                Some(now.nanos().saturating_sub(wait))
            }
            Hold::On => Some(now.nanos().saturating_sub(self.brake_wait_ns())),
        })
    }

    fn count_for_brake(
        &mut self,
        library: usize,
        before_ns: i64,
        now: Now,
    ) -> Result<(Hold, u64, u64)> {
        let key = self.libraries[library].key;
        let waiting = self.catalog.vanished_count(key, before_ns)?;
        let vanished = waiting + self.libraries[library].brake.gone(now.mono);
        let counts = self.catalog.counts(key)?;
        let all = vanished + counts.indexed + counts.failed + counts.in_flight;
        let most = self.settings.brake_files as u64;
        let share = vanished as f64 / all.max(1) as f64;
        let hold = if waiting > 0 && vanished > most && share > self.settings.brake_share {
            Hold::On
        } else if self.catalog.vanished_count(key, i64::MAX)? > most
            && self.catalog.last_vanished_ns(key)?.is_some_and(|last| {
                last > now
                    .nanos()
                    .saturating_sub(nanos(self.settings.move_grace).saturating_mul(4))
            })
        {
            Hold::More
        } else {
            Hold::No
        };
        Ok((hold, vanished, all))
    }

    fn set_brake(&mut self, library: usize, (hold, vanished, all): (Hold, u64, u64), now: Now) {
        let brake = &mut self.libraries[library].brake;
        brake.state = hold;
        if hold != Hold::On {
            brake.looked = None;
            return self.recover(library, "mass_delete");
        }
        let name = &self.libraries[library].name;
        let wait = self.settings.brake_wait;
        let detail = format!(
            "{vanished} of {all} files have vanished. They stay in the index until they are back, \
             `lookalike confirm {name}` says that they are meant to be gone, or {} minutes are over \
             (watch.brake_wait).",
            wait.as_secs().div_ceil(60)
        );
        self.degrade(library, "mass_delete", detail, now);
    }

    /// Nothing is missing from a library (any more).
    pub(super) fn release_brake(&mut self, library: usize) {
        let brake = &mut self.libraries[library].brake;
        (brake.state, brake.looked, brake.count_again) = (Hold::No, None, None);
        self.recover(library, "mass_delete");
    }

    /// Whether a library's files are held back.
    pub(super) fn is_braking(&self, library: usize) -> bool {
        self.libraries[library].brake.state == Hold::On
    }

    /// What vanished is meant to be gone, and so is what the comparison that comes now misses.
    pub(super) fn confirm_vanished(&mut self, library: usize, now: Now) -> Result<()> {
        self.libraries[library].brake.confirmed = true;
        self.let_vanished_go(library, now)
    }

    /// A whole comparison is over.
    pub(super) fn brake_after_scan(&mut self, library: usize, now: Now) -> Result<()> {
        if std::mem::take(&mut self.libraries[library].brake.confirmed) {
            self.let_vanished_go(library, now)?;
        }
        Ok(())
    }

    /// As if the wait for what vanished until now was over: that is kept in the catalog.
    fn let_vanished_go(&mut self, library: usize, now: Now) -> Result<()> {
        let held = &mut self.libraries[library];
        held.brake.count_again = None;
        held.brake.gone.clear();
        let key = held.key;
        let long_ago = now.nanos().saturating_sub(self.brake_wait_ns()) - 1;
        self.catalog.date_vanished_back(key, long_ago)
    }

    fn brake_wait_ns(&self) -> i64 {
        nanos(self.settings.brake_wait)
    }
}

pub(super) fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

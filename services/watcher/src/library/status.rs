//! What a library is like, as others are told: its counts, its faults, how fast it goes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use lookalike_bus::{Degradation, FileCounts, LibraryStatus, Rates};

use crate::catalog;
use crate::keeper::{Keeper, Now};
use crate::lease::role_state::LeaseState;

impl Keeper {
    pub(crate) fn set_degraded(
        &mut self,
        library: usize,
        reason: &'static str,
        detail: String,
        now: Now,
    ) {
        let held = &mut self.libraries[library];
        let since = held.degraded.get(reason).map(|(_, since)| *since);
        if since.is_none() {
            tracing::warn!(library = %held.name, reason, detail, "a library may lag behind its folder");
            crate::metrics::WATCH_DEGRADED
                .with_label_values(&[held.name.as_str(), reason])
                .set(1);
        }
        let entry = (detail, since.unwrap_or(now.wall_nanos()));
        held.degraded.insert(reason, entry);
        let soon = now.mono + self.rescan_interval(library);
        let held = &mut self.libraries[library];
        held.next_rescan = held.next_rescan.min(soon);
    }

    pub(crate) fn clear_degraded(&mut self, library: usize, reason: &'static str) {
        let held = &mut self.libraries[library];
        if held.degraded.remove(reason).is_some() {
            tracing::info!(library = %held.name, reason, "a library is whole again");
            crate::metrics::WATCH_DEGRADED
                .with_label_values(&[held.name.as_str(), reason])
                .set(0);
        }
    }

    /// Whether a library was compared with its folder as a whole and nothing hides a part of it,
    /// so that what the catalog does not know is not there.
    pub(crate) fn is_complete(&self, library: usize) -> bool {
        let held = &self.libraries[library];
        self.is_active(library)
            && held.is_fully_scanned
            && !held.degraded.contains_key("root_missing")
    }

    /// Shows to the tasks around what the libraries are like now.
    pub(crate) fn publish_status(&mut self, now: Now) -> Result<(), catalog::Error> {
        let mut statuses = Vec::with_capacity(self.libraries.len());
        for (index, held) in self.libraries.iter_mut().enumerate() {
            let counts = self.catalog.file_counts(held.key)?;
            debug_assert_eq!(
                counts.on_disk,
                counts.indexed + counts.failed + counts.ignored + counts.in_flight
            );
            // Whoever stands by knows them from before, and the one that works tells them.
            let shown = match held.lease_state {
                LeaseState::Standby => &FileCounts::default(),
                _ => &counts,
            };
            crate::metrics::set_file_counts(held.name.as_str(), shown);
            statuses.push(LibraryStatus {
                name: held.name.to_string(),
                root: held.root.display().to_string(),
                counts,
                degraded: held
                    .degraded
                    .iter()
                    .map(|(reason, (detail, since))| Degradation {
                        reason: (*reason).to_owned(),
                        detail: detail.clone(),
                        since_ms: since / 1_000_000,
                    })
                    .collect(),
                scanning: self.scans.has_scan_of(index),
                scanned_once: held.scanned_once,
                standby: matches!(held.lease_state, LeaseState::Standby | LeaseState::Unknown),
                rates: Rates {
                    files_per_second: held.throughput.per_second(now.mono),
                },
            });
        }
        self.published.send_if_modified(|shown| {
            let changed = *shown != statuses;
            *shown = statuses;
            changed
        });
        Ok(())
    }
}

/// Events a second over the last ten seconds.
#[derive(Default)]
pub(crate) struct Throughput {
    events: VecDeque<(Instant, u64)>,
}

impl Throughput {
    const WINDOW: Duration = Duration::from_secs(10);
    const BUCKET_WIDTH: Duration = Duration::from_millis(100);

    pub(crate) fn add_events(&mut self, count: u64, now: Instant) {
        match self.events.back_mut() {
            Some((at, sum)) if now.saturating_duration_since(*at) < Self::BUCKET_WIDTH => {
                *sum += count
            }
            _ => self.events.push_back((now, count)),
        }
        while self
            .events
            .front()
            .is_some_and(|(at, _)| now.duration_since(*at) > Self::WINDOW)
        {
            self.events.pop_front();
        }
    }

    /// To a tenth, so that a status does not change for nothing.
    pub(crate) fn per_second(&self, now: Instant) -> f64 {
        let recent = self
            .events
            .iter()
            .filter(|(at, _)| now.saturating_duration_since(*at) <= Self::WINDOW);
        let first = recent.clone().map(|(at, _)| *at).min();
        let count: u64 = recent.map(|(_, count)| *count).sum();
        let span = first.map_or(1.0, |at| {
            now.saturating_duration_since(at).as_secs_f64().max(1.0)
        });
        (count as f64 / span * 10.0).round() / 10.0
    }
}

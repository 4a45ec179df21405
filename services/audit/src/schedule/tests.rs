//! The schedule over hours of counts.

use super::*;
use crate::compare::DifferenceKind;
use lookalike_bus::{FileCounts, Rates};

fn shop_status(indexed: u64, in_flight: u64) -> LibraryStatus {
    LibraryStatus {
        name: "shop".into(),
        root: "/shop".into(),
        root_folder: None,
        counts: FileCounts {
            on_disk: indexed + in_flight,
            indexed,
            in_flight,
            ..FileCounts::default()
        },
        degraded: Vec::new(),
        scanning: false,
        scanned_once: true,
        standby: false,
        rates: Rates::default(),
    }
}

/// A schedule after its first audit, and its clock.
struct ScheduleWorld {
    schedule: AuditSchedule,
    now: Instant,
}

impl ScheduleWorld {
    fn new() -> Self {
        let now = Instant::now();
        let mut world = Self {
            schedule: AuditSchedule::new(&Settings::default(), now),
            now,
        };
        assert!(
            world.count_later(10, 10, 0).is_some(),
            "the first audit starts at once"
        );
        world.finish_audit(0, 10, 10);
        world
    }

    /// Counts so many rows 15 seconds later.
    fn count_later(&mut self, rows: u64, indexed: u64, in_flight: u64) -> Option<String> {
        self.now += Duration::from_secs(15);
        let counted = BTreeMap::from([("shop".to_owned(), rows)]);
        self.schedule
            .audit_reason(&[shop_status(indexed, in_flight)], &counted, self.now)
    }

    fn finish_audit(&mut self, found: u64, rows: u64, indexed: u64) {
        self.finish_audit_with(found, rows, indexed, None);
    }

    /// As `finish_audit`; a library that could not be compared is reported with a reason.
    fn finish_audit_with(&mut self, found: u64, rows: u64, indexed: u64, why: Option<&str>) {
        let mut report = AuditReport::default();
        if let Some(why) = why {
            let silent = report.libraries.entry("attic".into()).or_default();
            silent.not_compared = Some(why.to_owned());
        }
        let library = report.libraries.entry("shop".into()).or_default();
        library.differences.insert(DifferenceKind::Missing, found);
        let counted = BTreeMap::from([("shop".to_owned(), rows)]);
        self.schedule
            .record_audit(&report, &[shop_status(indexed, 0)], &counted, self.now);
    }
}

#[test]
fn without_a_mismatch_audits_run_at_their_interval() {
    let mut world = ScheduleWorld::new();
    let counts = (1..1000)
        .find(|_| world.count_later(10, 10, 0).is_some())
        .unwrap();
    assert!((190..=290).contains(&counts), "after {counts} counts");
}

#[test]
fn counts_that_do_not_fit_twice_are_a_reason() {
    let mut world = ScheduleWorld::new();
    assert_eq!(world.count_later(9, 10, 0), None);
    assert_eq!(
        world.count_later(10, 10, 0),
        None,
        "the count was only late"
    );
    assert_eq!(world.count_later(9, 10, 0), None);
    assert!(world.count_later(9, 10, 0).unwrap().contains("9 rows"));
    world.finish_audit(1, 9, 10);
    assert_eq!(world.count_later(9, 9, 1), None, "the row is in flight");
    assert!(world.count_later(10, 10, 0).unwrap().contains("repaired"));
    world.finish_audit(0, 10, 10);
    for _ in 0..10 {
        assert_eq!(world.count_later(10, 10, 0), None);
    }
}

#[test]
fn while_events_are_in_flight_only_a_loss_is_a_reason() {
    let mut world = ScheduleWorld::new();
    for (rows, indexed, in_flight) in [(95, 100, 3), (200, 100, 3), (100, 100, 900)] {
        for _ in 0..3 {
            assert_eq!(world.count_later(rows, indexed, in_flight), None);
        }
    }
    assert_eq!(world.count_later(0, 100, 900), None);
    assert!(
        world.count_later(7, 100, 900).is_some(),
        "the collection was replaced"
    );
}

#[test]
fn a_server_that_counts_in_its_own_way_is_believed_once() {
    let mut world = ScheduleWorld::new();
    world.count_later(12, 10, 0);
    assert!(world.count_later(12, 10, 0).is_some());
    world.finish_audit(0, 12, 10);
    for _ in 0..10 {
        assert_eq!(world.count_later(12, 10, 0), None);
    }
    assert_eq!(world.count_later(13, 11, 0), None, "the same surplus");
    assert_eq!(world.count_later(13, 10, 1), None, "an event is in flight");
    for _ in 0..3 {
        assert_eq!(world.count_later(13, 11, 0), None, "the same surplus");
    }
    assert_eq!(world.count_later(10, 10, 0), None, "the counts match");
    let counts = (1..100).find(|_| world.count_later(13, 10, 0).is_some());
    assert!(counts.is_some(), "another surplus starts an audit");
}

/// A late count at an audit that found nothing must not hide a loss of as many rows.
#[test]
fn a_late_count_at_an_audit_hides_no_later_difference() {
    for (late, later) in [(9, 9), (11, 11)] {
        let mut world = ScheduleWorld::new();
        world.finish_audit(0, late, 10);
        // The count is right again.
        assert_eq!(world.count_later(10, 10, 0), None);
        assert_eq!(world.count_later(later, 10, 0), None, "it may be late");
        assert!(world.count_later(later, 10, 0).is_some(), "{later} rows");
    }
    // The row is lost before the next count.
    let mut world = ScheduleWorld::new();
    world.finish_audit(0, 9, 10);
    assert_eq!(world.count_later(9, 10, 0), None, "it may be late");
    assert!(world.count_later(9, 10, 0).is_some());
}

#[test]
fn rows_of_vanished_files_do_not_bring_audit_after_audit() {
    let mut world = ScheduleWorld::new();
    // A tenth is left, the mass-delete guard keeps the other rows; then files come and go.
    let mut audits = 0;
    for minute in 0..40 {
        for _ in 0..4 {
            let indexed = 10 + minute;
            if world.count_later(90 + indexed, indexed, 0).is_some() {
                audits += 1;
                world.finish_audit(0, 90 + indexed, indexed);
            }
        }
    }
    assert_eq!(audits, 1);
    // They are being removed: another number at each count.
    let mut audits = 0;
    for gone in 0..240 {
        let rows = 160 - gone / 3;
        if world.count_later(rows, 70, 0).is_some() {
            audits += 1;
            world.finish_audit(0, rows, 70);
        }
    }
    assert!((2..=12).contains(&audits), "{audits} in an hour");
}

#[test]
fn unfinished_audits_are_repeated_less_and_less_often() {
    let mut world = ScheduleWorld::new();
    let missing = IndexError::Missing { object: "x".into() };
    let mut tries = 0;
    for _ in 0..240 {
        // Every reason at once.
        world.schedule.record_milvus_failure(&missing);
        if world.count_later(0, 10, 0).is_some() {
            tries += 1;
            world.schedule.record_unfinished(world.now);
        }
    }
    assert!((6..=20).contains(&tries), "{tries} in an hour");
    let counts = (1..50).find(|_| world.count_later(10, 10, 0).is_some());
    assert!(counts.is_some());
    world.finish_audit(0, 10, 10);
    for _ in 0..10 {
        assert_eq!(world.count_later(10, 10, 0), None);
    }
}

#[test]
fn an_unreachable_library_is_retried_and_delays_no_other() {
    let mut world = ScheduleWorld::new();
    for _ in 0..6 {
        world.finish_audit_with(0, 10, 10, Some("unreachable"));
    }
    world.count_later(9, 10, 0);
    assert!(world.count_later(9, 10, 0).unwrap().contains("9 rows"));
    world.finish_audit(1, 9, 10);
    world.finish_audit(0, 10, 10);
    world.finish_audit_with(0, 10, 10, Some("unreachable"));
    let mut audits = 0;
    for _ in 0..240 {
        if world.count_later(10, 10, 0).is_some() {
            audits += 1;
            world.finish_audit_with(0, 10, 10, Some("unreachable"));
        }
    }
    assert!((6..=20).contains(&audits), "{audits} in an hour");
}

#[test]
fn persistent_differences_are_compared_less_and_less_often() {
    let mut world = ScheduleWorld::new();
    world.finish_audit(1, 9, 9);
    let mut audits = 0;
    for _ in 0..240 {
        if world.count_later(9, 9, 0).is_some() {
            audits += 1;
            world.finish_audit(1, 9, 9);
        }
    }
    assert!((4..=10).contains(&audits), "{audits} in an hour");
}

#[test]
fn after_milvus_was_unavailable_everything_is_compared() {
    let mut world = ScheduleWorld::new();
    let slow = IndexError::Timeout {
        call: "count",
        limit: Duration::from_secs(10),
    };
    world.schedule.record_milvus_failure(&slow);
    assert_eq!(world.count_later(10, 10, 0), None);
    let error = IndexError::Missing { object: "x".into() };
    world.schedule.record_milvus_failure(&error);
    assert!(
        world
            .count_later(10, 10, 0)
            .unwrap()
            .contains("unavailable")
    );
    world.finish_audit(0, 10, 10);
    assert_eq!(world.count_later(10, 10, 0), None);
}

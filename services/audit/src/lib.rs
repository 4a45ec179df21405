//! Audits: compares the watchers' catalogs with every row of the index and repairs differences.
//!
//! An audit compares id, path, hash and generation. It reads both sides in the order of ids, a
//! page at a time, and joins them. A difference seen in this first comparison only makes the image
//! a suspect, because files change meanwhile. After `audit.recheck_delay` the audit reads each
//! suspect again in the order catalog, rows, catalog. If both catalog reads agree and no event of
//! the image is in flight, the rows read in between must match; any mismatch is a difference.
//!
//! The watcher repairs images that its catalog contains: it sends them again with a new
//! generation. Thus all writes of one image stay ordered, and an upsert also removes duplicate
//! rows. The audit itself deletes only rows that no catalog lists. An audit that is killed leaves
//! nothing behind that the next one does not find.
//!
//! The audit trusts the catalog to describe its folder. A caller may request a scan first, and a
//! deep audit also hashes every file.
//!
//! An embedder runs audits periodically ([`run_periodic_audit`]); `lookalike audit` runs one on
//! demand ([`Auditor`]). The modules follow one audit: settings and errors, the catalogs, the
//! comparison, the pass over everything, the report, and the schedule.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod error;
mod settings;

mod catalogs;
mod compare;
mod context;
mod hashing;
mod report;
mod watcher_client;

mod pass;

mod auditor;

mod lease;
mod metrics;
mod periodic;
mod schedule;

pub use auditor::Auditor;
pub use compare::DifferenceKind;
pub use context::{AuditOptions, AuditStage};
pub use error::Error;
pub use metrics::register_metrics;
pub use periodic::run_periodic_audit;
pub use report::{AuditReport, Difference, LibraryReport};
pub use settings::Settings;

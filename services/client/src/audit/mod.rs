//! `audit`: compares the index with the folders, and repairs it until both are equal.

mod args;
mod progress;
mod report;
mod run;

pub use args::{AuditArgs, AuditRunArgs};
pub use run::{AuditResult, audit_until_equal, print_and_check, wait_for_status_reports};

//! What the steps of one tick share.

use super::scan_queue::ScanQueue;
use super::settling::SettlingFiles;
use crate::catalog::Catalog;
use crate::clock::Now;
use crate::content_checks::ContentChecks;
use crate::inbox::Inbox;
use crate::settings::Settings;

/// Everything that a step of the keeper's tick may read or change, apart from the libraries.
pub struct Tick<'a> {
    pub settings: &'a Settings,
    pub catalog: &'a mut Catalog,
    pub settling: &'a mut SettlingFiles,
    pub scans: &'a mut ScanQueue,
    pub inbox: &'a Inbox,
    pub content_checks: &'a ContentChecks,
    pub now: Now,
}

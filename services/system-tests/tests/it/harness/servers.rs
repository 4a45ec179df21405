//! The servers of the tests: pairs of nats-server and Milvus that many tests share, and servers of
//! one test's own.

use std::path::Path;
use std::sync::OnceLock;

use lookalike_servers::WantedServers;
use lookalike_test_support::servers::{SharedServers, data_folder};

/// Pairs of servers. Tests run side by side, and one Milvus creates collections one after another.
const PAIRS: usize = 2;

/// Returns the pair of servers of the group that `number` belongs to; the first test of a group
/// starts them.
pub fn shared_servers(number: usize) -> &'static SharedServers {
    static SHARED: [OnceLock<SharedServers>; PAIRS] = [const { OnceLock::new() }; PAIRS];
    let pair = number % PAIRS;
    SHARED[pair].get_or_init(|| {
        let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let data = data_folder(base, "system-tests").join(format!("pair-{pair}"));
        SharedServers::start(data, WantedServers::ALL)
    })
}

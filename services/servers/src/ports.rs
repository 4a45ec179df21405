//! The ports of a data folder's servers, chosen once and stored in `ports.json`.
//!
//! Clients reconnect to the same address, so ports must survive restarts. They are outside the
//! ephemeral range; otherwise an outgoing connection could occupy a port while its server restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use lookalike_chassis::durable::replace_file;
use tokio::time::Instant;

use crate::error::Error;
use crate::stage::Program;

/// Below the ephemeral ports of Linux (from 32768) and macOS (from 49152).
const PORT_RANGE: Range<u16> = 20_000..32_000;

const PORT_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// File in the data folder.
const PORTS_FILE: &str = "ports.json";

/// Ports by name: two for nats-server, and one for each component of Milvus.
pub(crate) type Ports = BTreeMap<String, u16>;

pub(crate) fn port_names(program: Program) -> &'static [&'static str] {
    match program {
        Program::Nats => &["nats", "nats-health"],
        Program::Milvus => &[
            "milvus",
            "milvus-internal",
            "milvus-root-coord",
            "milvus-query-coord",
            "milvus-query-node",
            "milvus-index-node",
            "milvus-data-coord",
            "milvus-data-node",
            "milvus-etcd-client",
            "milvus-etcd-peer",
            "milvus-metrics",
        ],
    }
}

/// Returns the ports for the `wanted` programs. Reuses stored ports that are free or become free
/// within `timeout`, because the previous servers may still be exiting; chooses new ones for the
/// rest. Stored ports of other programs are kept.
pub(crate) async fn choose_ports(
    data_dir: &Path,
    wanted: impl Iterator<Item = Program>,
    timeout: Duration,
) -> Result<Ports, Error> {
    let path = data_dir.join(PORTS_FILE);
    let mut ports = read_ports(&path)?;
    let before = ports.clone();
    let needed: Vec<_> = wanted.flat_map(port_names).copied().collect();
    // All listeners stay open until all ports are known, so that no port is chosen twice.
    let mut listeners = Vec::new();
    let deadline = Instant::now() + timeout;
    for &name in &needed {
        let Some(&port) = ports.get(name) else {
            continue;
        };
        match wait_until_free(port, deadline).await {
            Some(listener) => listeners.push(listener),
            None => {
                tracing::warn!(
                    name,
                    port,
                    "another program uses a port of this data folder, choosing a new one"
                );
                ports.remove(name);
            }
        }
    }
    let missing: Vec<_> = needed
        .into_iter()
        .filter(|&name| !ports.contains_key(name))
        .collect();
    let taken: BTreeSet<_> = ports.values().copied().collect();
    let mut candidates = candidate_ports().filter(|port| !taken.contains(port));
    for &name in &missing {
        let (port, listener) = candidates
            .find_map(|port| Some((port, bind_port(port)?)))
            .ok_or(Error::NoPorts(missing.len()))?;
        listeners.push(listener);
        ports.insert(name.to_owned(), port);
    }
    if ports != before {
        let text = serde_json::to_vec_pretty(&ports).expect("a map of numbers is JSON");
        replace_file(&path, &text).map_err(|source| Error::DataDir { path, source })?;
    }
    Ok(ports)
}

/// Returns the ports that the servers of a data folder used last, by name; none if there are none yet
/// or the list cannot be read.
pub fn read_stored_ports(data_dir: &Path) -> BTreeMap<String, u16> {
    read_ports(&data_dir.join(PORTS_FILE)).unwrap_or_default()
}

fn read_ports(path: &Path) -> Result<Ports, Error> {
    match std::fs::read(path) {
        Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "cannot read the list of ports, choosing new ones");
            Ports::new()
        })),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Ports::new()),
        Err(source) => Err(Error::DataDir {
            path: path.to_owned(),
            source,
        }),
    }
}

fn bind_port(port: u16) -> Option<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
}

async fn wait_until_free(port: u16, deadline: Instant) -> Option<TcpListener> {
    loop {
        if let Some(listener) = bind_port(port) {
            return Some(listener);
        }
        if Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(PORT_POLL_INTERVAL).await;
    }
}

/// Returns all ports of the range, starting at a random one, so that two folders that choose at the
/// same time rarely collide.
fn candidate_ports() -> impl Iterator<Item = u16> {
    use std::hash::{BuildHasher as _, RandomState};
    let random = RandomState::new().hash_one(std::process::id());
    let span = u64::from(PORT_RANGE.end - PORT_RANGE.start);
    let begin = PORT_RANGE.start + u16::try_from(random % span).expect("smaller than a port");
    (begin..PORT_RANGE.end).chain(PORT_RANGE.start..begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn choose_both(folder: &Path) -> Ports {
        let wanted = [Program::Nats, Program::Milvus].into_iter();
        choose_ports(folder, wanted, Duration::ZERO).await.unwrap()
    }

    /// Tests that start at once would choose the same ports.
    static ONE_TEST: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    #[tokio::test]
    async fn ports_persist_and_only_an_occupied_one_changes() {
        let _alone = ONE_TEST.lock().await;
        let folder = tempfile::tempdir().unwrap();
        let first = choose_both(folder.path()).await;
        assert_eq!(first.len(), 13);
        let distinct: BTreeSet<_> = first.values().collect();
        assert_eq!(distinct.len(), 13);
        assert_eq!(choose_both(folder.path()).await, first);

        let _taken = bind_port(first["milvus"]).unwrap();
        let second = choose_both(folder.path()).await;
        for (name, port) in &first {
            assert_eq!(second[name] == *port, name != "milvus", "{name}");
        }
    }

    #[tokio::test]
    async fn the_port_of_an_exiting_server_is_awaited() {
        let _alone = ONE_TEST.lock().await;
        let folder = tempfile::tempdir().unwrap();
        let first = choose_both(folder.path()).await;
        let dying = bind_port(first["nats"]).unwrap();
        let again = choose_ports(
            folder.path(),
            [Program::Nats].into_iter(),
            Duration::from_secs(60),
        );
        let (again, ()) = tokio::join!(again, async {
            tokio::task::yield_now().await;
            drop(dying);
        });
        assert_eq!(again.unwrap(), first);
    }

    #[tokio::test]
    async fn a_broken_list_is_replaced() {
        let _alone = ONE_TEST.lock().await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(PORTS_FILE), "{").unwrap();
        assert_eq!(choose_both(folder.path()).await.len(), 13);
    }
}

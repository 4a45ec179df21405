//! Reads the listening sockets of a process from `/proc`.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Returns the addresses of a process's listening TCP sockets and bound UDP sockets.
pub fn listening_addresses(pid: u32) -> Vec<SocketAddr> {
    let by_inode = bound_sockets();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        // The descriptor may have been closed meanwhile.
        let Ok(target) = std::fs::read_link(entry.unwrap().path()) else {
            continue;
        };
        let target = target.to_string_lossy().into_owned();
        let inode = target
            .strip_prefix("socket:[")
            .and_then(|rest| rest.strip_suffix(']'));
        if let Some(address) = inode.and_then(|inode| by_inode.get(inode)) {
            found.push(*address);
        }
    }
    found.sort_unstable();
    found
}

fn bound_sockets() -> HashMap<String, SocketAddr> {
    // In TCP's tables state 0A is LISTEN; in UDP's 07 is a socket without a peer.
    let tables = [("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")];
    let mut sockets = HashMap::new();
    for (table, wanted) in tables {
        let text = std::fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().collect();
            let (local, state, inode) = (fields[1], fields[3], fields[9]);
            if state == wanted {
                sockets.insert(inode.to_owned(), parse_address(local));
            }
        }
    }
    sockets
}

/// Parses `0100007F:1F90`: the address in words of host byte order, and the port.
fn parse_address(text: &str) -> SocketAddr {
    let (host, port) = text.split_once(':').unwrap();
    let bytes: Vec<u8> = (0..host.len())
        .step_by(8)
        .flat_map(|at| {
            u32::from_str_radix(&host[at..at + 8], 16)
                .unwrap()
                .to_ne_bytes()
        })
        .collect();
    let host: IpAddr = match <[u8; 16]>::try_from(bytes.as_slice()) {
        Ok(v6) => Ipv6Addr::from(v6).to_canonical(),
        Err(_) => Ipv4Addr::from(<[u8; 4]>::try_from(bytes.as_slice()).unwrap()).into(),
    };
    SocketAddr::new(host, u16::from_str_radix(port, 16).unwrap())
}

#[test]
fn a_socket_of_ours_is_found() {
    let everywhere = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let here = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let found = listening_addresses(std::process::id());
    assert!(found.contains(&everywhere.local_addr().unwrap()));
    assert!(found.contains(&here.local_addr().unwrap()));
}

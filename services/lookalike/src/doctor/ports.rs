//! The address of the service, and the ports of the servers that `up` starts.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs as _};

use super::finding::{Finding, FindingStatus};
use super::installation::Installation;
use super::processes::find_listener;

/// Ports above the one that is taken, among which a free one is looked for.
const MAX_TRIED_PORTS: u16 = 100;

pub(super) fn check_ports(installation: &Installation) -> Vec<Finding> {
    let mut findings = vec![check_service_address(installation)];
    findings.extend(check_server_ports(installation));
    findings
}

fn check_service_address(installation: &Installation) -> Finding {
    const CHECK: &str = "port";
    let listen = &installation.settings.http.listen;
    let addresses: Vec<SocketAddr> = match listen.to_socket_addrs() {
        Ok(addresses) => addresses.collect(),
        Err(error) => {
            return Finding::failure(
                CHECK,
                format!("{listen} is not an address that this machine knows: {error}"),
                "lookalike up --listen 127.0.0.1:8080",
            );
        }
    };
    let bound = TcpListener::bind(&addresses[..]);
    let error = match bound {
        Ok(_) => return Finding::ok(CHECK, format!("{listen} is free for page and API")),
        Err(error) => error,
    };
    let Some(address) = addresses.first() else {
        return Finding::failure(
            CHECK,
            format!("{listen} names no address"),
            "lookalike up --listen 127.0.0.1:8080",
        );
    };
    let is_ours = installation.running.as_ref().is_some_and(|running| {
        let suffix = format!(":{}", address.port());
        running.url.trim_end_matches('/').ends_with(&suffix)
    });
    if is_ours {
        return Finding::ok(CHECK, format!("the running lookalike listens on {listen}"));
    }
    let user = find_listener(address.port());
    let message = match (&user, error.kind()) {
        (Some(process), _) => format!("{listen} is in use by {process}"),
        (None, std::io::ErrorKind::AddrInUse) => {
            format!("{listen} is in use by a process of another account")
        }
        (None, _) => format!("cannot listen on {listen}: {error}"),
    };
    let remedy = match find_free_port(*address) {
        Some(free) => format!("lookalike up --listen {free}"),
        None => "lookalike up --listen 127.0.0.1:0".to_owned(),
    };
    Finding::failure(CHECK, message, remedy)
}

fn find_free_port(taken: SocketAddr) -> Option<SocketAddr> {
    let last = taken.port().saturating_add(MAX_TRIED_PORTS);
    (taken.port().saturating_add(1)..=last)
        .map(|port| SocketAddr::new(taken.ip(), port))
        .find(|address| TcpListener::bind(address).is_ok())
}

/// The ports of a data folder's servers. If another program took one, `up` chooses another.
fn check_server_ports(installation: &Installation) -> Option<Finding> {
    const CHECK: &str = "server ports";
    if installation.running.is_some() {
        return None;
    }
    let ports = lookalike_servers::read_stored_ports(installation.data_dir.as_ref()?);
    let taken = ports
        .values()
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, **port)).is_err());
    match taken {
        None if ports.is_empty() => None,
        None => Some(Finding::ok(
            CHECK,
            format!("all {} ports of this data folder are free", ports.len()),
        )),
        Some(port) => Some(Finding {
            check: CHECK,
            status: FindingStatus::Warning,
            message: match find_listener(*port) {
                Some(process) => format!("{process} uses port {port}; `up` will choose another"),
                None => format!("port {port} is in use; `up` will choose another"),
            },
            remedy: Some(format!("ss -ltnp 'sport = :{port}'")),
        }),
    }
}

//! Refuses requests for a host name that is not the service's.
//!
//! A page of another site can let its own host name resolve to this machine. A browser then takes
//! the service for that site: the page may read responses and change things. Only the host name,
//! in the header `Host`, reveals it.

use std::net::SocketAddr;
use std::sync::Arc;

use poem::http::header;
use poem::{Endpoint, IntoResponse as _, Request, Response};

use crate::Settings;
use crate::problem::{Code, Problem};

pub(super) async fn refuse_unknown_host<E: Endpoint>(
    next: Arc<E>,
    request: Request,
    hosts: AllowedHosts,
) -> poem::Result<Response> {
    hosts.check_request(&request)?;
    Ok(next.call(request).await?.into_response())
}

/// The host names that the service accepts; `None` accepts every name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AllowedHosts(Option<Vec<String>>);

impl AllowedHosts {
    /// On a loopback address, accepts the names of this machine, the address itself and the names
    /// in the settings. On other addresses the names are unknown, so every name is accepted unless
    /// the settings list some.
    pub(crate) fn new(settings: &Settings, address: SocketAddr) -> Self {
        let ip = address.ip().to_canonical();
        let allowed = &settings.allowed_hosts;
        if allowed.iter().any(|host| host == "*") || (!ip.is_loopback() && allowed.is_empty()) {
            return Self(None);
        }
        let mut names = ["localhost", "127.0.0.1", "[::1]"]
            .map(str::to_owned)
            .to_vec();
        names.push(match ip {
            std::net::IpAddr::V4(ip) => ip.to_string(),
            std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        });
        names.push(normalize_host(&settings.listen));
        names.extend(allowed.iter().map(|host| normalize_host(host)));
        Self(Some(names))
    }

    /// A request without a host name passes: browsers always send one.
    fn check_request(&self, request: &Request) -> Result<(), Problem> {
        let Some(names) = &self.0 else {
            return Ok(());
        };
        // Probes and Prometheus use all kinds of names, and these responses reveal no pictures.
        if matches!(request.uri().path(), "/healthz" | "/readyz" | "/metrics") {
            return Ok(());
        }
        // HTTP/2, and clients that use this service as a proxy, write the name into the URI.
        let in_uri = request
            .uri()
            .authority()
            .map(|authority| authority.as_str());
        let in_headers = request.headers().get_all(header::HOST).iter();
        let hosts = in_uri
            .map(|host| Some(host.to_owned()))
            .into_iter()
            .chain(in_headers.map(|host| host.to_str().ok().map(str::to_owned)));
        for host in hosts {
            let is_allowed = host
                .as_ref()
                .is_some_and(|host| names.contains(&normalize_host(host)));
            if !is_allowed {
                let shown: String = host.unwrap_or_default().chars().take(100).collect();
                return Err(Problem::new(
                    Code::UnknownHost,
                    format!(
                        "host {shown:?} is not allowed; to allow it, for example as the name of a \
                         proxy, add it to http.allowed_hosts"
                    ),
                )
                .with_param("Host"));
            }
        }
        Ok(())
    }
}

/// Removes the port and a final dot, and converts to lower case.
fn normalize_host(host: &str) -> String {
    let host = host.trim();
    let bare = match host.rsplit_once(':') {
        Some((bare, port))
            if port.bytes().all(|b| b.is_ascii_digit())
                && (bare.ends_with(']') || !bare.contains(':')) =>
        {
            bare
        }
        _ => host,
    };
    let bare = bare.strip_suffix('.').unwrap_or(bare);
    bare.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_accepted(listen: &str, address: &str, allowed: &[&str], host: &str) -> bool {
        let settings = Settings {
            listen: listen.into(),
            allowed_hosts: allowed.iter().map(|host| (*host).to_owned()).collect(),
            ..Settings::default()
        };
        let hosts = AllowedHosts::new(&settings, address.parse().unwrap());
        let request = Request::builder()
            .uri("/v1/stats".parse().unwrap())
            .header("host", host);
        hosts.check_request(&request.finish()).is_ok()
    }

    #[test]
    fn on_this_machine_only_its_names_are_taken() {
        let here = |host| is_accepted("127.0.0.1:8080", "127.0.0.1:8080", &[], host);
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "localhost.:80",
            "127.0.0.1",
            "127.0.0.1:9",
            "[::1]:8080",
        ] {
            assert!(here(host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.example:127.0.0.1",
            "192.0.2.1",
            "",
            "[::2]",
        ] {
            assert!(!here(host), "{host}");
        }
        let own = ["Pictures.example:443", "attic"];
        for host in ["pictures.example", "attic:81", "localhost"] {
            assert!(
                is_accepted("127.0.0.1:0", "127.0.0.1:1", &own, host),
                "{host}"
            );
        }
        assert!(!is_accepted(
            "127.0.0.1:0",
            "127.0.0.1:1",
            &own,
            "evil.example"
        ));
        assert!(is_accepted(
            "127.0.0.1:0",
            "127.0.0.1:1",
            &["*"],
            "evil.example"
        ));
        assert!(is_accepted(
            "127.0.0.2:0",
            "127.0.0.2:1",
            &[],
            "127.0.0.2:1"
        ));
        assert!(is_accepted("mybox:80", "127.0.1.1:80", &[], "mybox"));
        assert!(!is_accepted("[::1]:80", "[::1]:80", &[], "evil.example"));
    }

    #[test]
    fn elsewhere_every_name_is_taken_unless_some_are_listed() {
        for address in ["0.0.0.0:80", "[::]:80", "192.0.2.1:80"] {
            assert!(is_accepted(address, address, &[], "pictures.example"));
            let listed = ["pictures.example"];
            assert!(is_accepted(address, address, &listed, "pictures.example"));
            assert!(!is_accepted(address, address, &listed, "evil.example"));
        }
        assert!(is_accepted(
            "192.0.2.1:80",
            "192.0.2.1:80",
            &["x"],
            "192.0.2.1"
        ));
    }

    #[test]
    fn whichever_name_a_request_writes_must_fit() {
        let settings = Settings::default();
        let hosts = AllowedHosts::new(&settings, "127.0.0.1:80".parse().unwrap());
        for (uri, headers, ok) in [
            ("/", &[][..], true),
            ("/", &["localhost", "evil.example"], false),
            ("http://evil.example/", &["localhost"], false),
            ("http://localhost/", &["evil.example"], false),
            ("http://localhost/", &[], true),
            ("/metrics", &["evil.example"], true),
            ("/metrics/x", &["evil.example"], false),
        ] {
            let mut request = Request::builder().uri(uri.parse().unwrap());
            for host in headers {
                request = request.header("host", *host);
            }
            let checked = hosts.check_request(&request.finish());
            assert_eq!(checked.is_ok(), ok, "{uri} {headers:?}");
        }
    }
}

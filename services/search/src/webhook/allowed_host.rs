//! An entry of `webhooks.allowed_hosts`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A host that webhooks may use: a name, a wildcard for the names below one, or an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AllowedHost {
    is_http: bool,
    /// Of `*.example.com`, this is `example.com`.
    name: String,
    is_wildcard: bool,
    /// The default port of the scheme if it is not given.
    port: u16,
}

const fn default_port(is_http: bool) -> u16 {
    if is_http { 80 } else { 443 }
}

impl AllowedHost {
    /// Whether requests to this host and port may be sent. An IPv6 address is in brackets.
    pub(super) fn permits(&self, is_http: bool, host: &str, port: u16) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        let is_host = match self.is_wildcard {
            false => host.eq_ignore_ascii_case(&self.name),
            true => {
                let host = host.to_ascii_lowercase();
                let below = host.strip_suffix(&self.name);
                below.is_some_and(|below| below.len() > 1 && below.ends_with('.'))
            }
        };
        // A host that may be reached without encryption may be reached with it.
        let is_scheme = self.is_http || !is_http;
        let expected = match self.is_http && !is_http && self.port == default_port(true) {
            true => default_port(false),
            false => self.port,
        };
        is_host && is_scheme && port == expected
    }

    /// Whether the host is one address.
    pub(super) fn is_address(&self) -> bool {
        let name = self.name.trim_start_matches('[').trim_end_matches(']');
        !self.is_wildcard && name.parse::<IpAddr>().is_ok()
    }
}

impl TryFrom<String> for AllowedHost {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no host of webhooks: write hooks.example.com, *.example.com, \
                 hooks.example.com:8443 or http://10.1.2.3:8000, without a path"
            )
        };
        let lower = text.trim().to_ascii_lowercase();
        let (is_http, rest) = match lower.strip_prefix("http://") {
            Some(rest) => (true, rest),
            None => (false, lower.strip_prefix("https://").unwrap_or(&lower)),
        };
        let colon = rest.rfind(':').filter(|at| !rest[*at..].contains(']'));
        let (host, port) = match colon {
            Some(at) => (&rest[..at], rest[at + 1..].parse().map_err(|_| wrong())?),
            None => (rest, default_port(is_http)),
        };
        let (is_wildcard, name) = match host.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, host),
        };
        let is_address = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
            .is_some_and(|name| name.parse::<std::net::Ipv6Addr>().is_ok());
        let is_name = !name.is_empty()
            && name.split('.').all(|label| !label.is_empty())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        // A wildcard for all of `com` is a mistake.
        let is_broad = is_wildcard && !name.contains('.');
        if port == 0 || is_broad || !(is_name || (is_address && !is_wildcard)) {
            return Err(wrong());
        }
        Ok(Self {
            is_http,
            name: name.to_owned(),
            is_wildcard,
            port,
        })
    }
}

impl From<AllowedHost> for String {
    fn from(host: AllowedHost) -> Self {
        let scheme = if host.is_http { "http://" } else { "" };
        let wildcard = if host.is_wildcard { "*." } else { "" };
        match host.port == default_port(host.is_http) {
            true => format!("{scheme}{wildcard}{}", host.name),
            false => format!("{scheme}{wildcard}{}:{}", host.name, host.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> AllowedHost {
        AllowedHost::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn a_host_permits_its_own_port_and_scheme() {
        for (listed, is_http, name, port, permitted) in [
            ("hooks.example.com", false, "hooks.example.com", 443, true),
            ("hooks.example.com", false, "Hooks.Example.com.", 443, true),
            ("hooks.example.com", false, "hooks.example.com", 8443, false),
            ("hooks.example.com", true, "hooks.example.com", 80, false),
            (
                "hooks.example.com",
                false,
                "evil-hooks.example.com",
                443,
                false,
            ),
            (
                "hooks.example.com:8443",
                false,
                "hooks.example.com",
                8443,
                true,
            ),
            ("*.example.com", false, "a.example.com", 443, true),
            ("*.example.com", false, "a.b.example.com", 443, true),
            ("*.example.com", false, "example.com", 443, false),
            ("*.example.com", false, ".example.com", 443, false),
            ("*.example.com", false, "evilexample.com", 443, false),
            ("http://10.1.2.3:8000", true, "10.1.2.3", 8000, true),
            ("http://10.1.2.3:8000", false, "10.1.2.3", 8000, true),
            ("http://intern", true, "intern", 80, true),
            ("http://intern", false, "intern", 443, true),
            ("http://[::1]:80", true, "[::1]", 80, true),
        ] {
            let permits = host(listed).permits(is_http, name, port);
            assert_eq!(permits, permitted, "{listed} {name}:{port}");
        }
    }

    #[test]
    fn entries_are_read_as_written() {
        for text in [
            "", "http://", "a/b", "a:0", "a:x", "*.com", "*", "a..b", "user@a", "[::1", "*.[::1]",
            "a b",
        ] {
            assert!(AllowedHost::try_from(text.to_owned()).is_err(), "{text}");
        }
        for text in [
            "hooks.example.com",
            "*.example.com",
            "http://10.1.2.3:8000",
            "[::1]",
        ] {
            assert_eq!(String::from(host(text)), text);
        }
        assert!(host("[::1]").is_address() && host("http://127.0.0.1:9").is_address());
        assert!(!host("localhost").is_address());
    }
}

//! Checks where a webhook sends its requests.

use std::net::IpAddr;

use reqwest::Url;

use super::address::AddressRules;
use super::allowed_host::AllowedHost;
use super::settings::WebhookSettings;

/// The longest address of a webhook, in bytes.
pub(crate) const MAX_URL_BYTES: usize = 2000;

/// The hosts and addresses that webhooks may use.
#[derive(Debug, Clone)]
pub(crate) struct TargetRules {
    hosts: Vec<AllowedHost>,
    pub addresses: AddressRules,
}

impl TargetRules {
    pub(crate) fn new(settings: &WebhookSettings) -> Self {
        Self {
            addresses: AddressRules::new(settings.allowed_addresses.clone()),
            hosts: settings.allowed_hosts.clone(),
        }
    }

    /// Parses the address of a webhook and checks its host.
    ///
    /// # Errors
    /// What is wrong with it, as a part of a sentence for its author.
    pub(crate) fn check_url(&self, text: &str) -> Result<Url, String> {
        if text.len() > MAX_URL_BYTES {
            return Err(format!("it has more than {MAX_URL_BYTES} bytes"));
        }
        let url = Url::parse(text).map_err(|error| format!("it is no address: {error}"))?;
        let is_http = match url.scheme() {
            "https" => false,
            "http" => true,
            scheme => return Err(format!("{scheme} is not supported; use https")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it contains a user name or password".to_owned());
        }
        let host = url.host_str().ok_or("it has no host")?;
        let port = url.port_or_known_default().ok_or("it has no port")?;
        let permits = |allowed: &AllowedHost| allowed.permits(is_http, host, port);
        if !self.hosts.iter().any(permits) {
            let scheme = if is_http { "http://" } else { "" };
            return Err(format!(
                "webhooks.allowed_hosts does not contain {scheme}{host}:{port}"
            ));
        }
        // The client connects to such a host without resolving it. An entry that is this address lists it.
        let is_listed = |allowed: &AllowedHost| permits(allowed) && allowed.is_address();
        if let Some(address) = address_of_host(host)
            && !self.hosts.iter().any(is_listed)
        {
            self.addresses.check_address(address)?;
        }
        Ok(url)
    }
}

/// Returns the address that a host of a URL is. The parser has normalized forms such as `0x7f.1`.
fn address_of_host(host: &str) -> Option<IpAddr> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(hosts: &[&str], addresses: &[&str]) -> TargetRules {
        let hosts = hosts.iter().map(|text| (*text).to_owned().try_into());
        let addresses = addresses.iter().map(|text| (*text).to_owned().try_into());
        TargetRules::new(&WebhookSettings {
            allowed_hosts: hosts.collect::<Result<_, _>>().unwrap(),
            allowed_addresses: addresses.collect::<Result<_, _>>().unwrap(),
            ..WebhookSettings::default()
        })
    }

    #[test]
    fn only_listed_hosts_pass() {
        let rules = rules(&["hooks.example.com", "http://127.0.0.1:9000"], &[]);
        for url in [
            "https://hooks.example.com/a?b=c",
            "https://HOOKS.example.com:443/",
            "http://127.0.0.1:9000/x",
            "http://0x7f.1:9000/x",
            "http://2130706433:9000/x",
        ] {
            assert!(rules.check_url(url).is_ok(), "{url}");
        }
        for (url, reason) in [
            ("http://hooks.example.com/", "allowed_hosts"),
            ("https://hooks.example.com:444/", "allowed_hosts"),
            ("https://hooks.example.com.evil.com/", "allowed_hosts"),
            ("https://hooks.example.com@evil.com/", "user name"),
            ("https://user:x@hooks.example.com/", "user name"),
            ("https://127.0.0.2:9000/", "allowed_hosts"),
            ("file:///etc/passwd", "file is not supported"),
            ("gopher://hooks.example.com/", "not supported"),
            ("hooks.example.com", "no address"),
            ("", "no address"),
        ] {
            let error = rules.check_url(url).unwrap_err();
            assert!(error.contains(reason), "{url}: {error}");
        }
        let long = format!("https://hooks.example.com/{}", "a".repeat(2000));
        assert!(rules.check_url(&long).unwrap_err().contains("2000 bytes"));
    }

    #[test]
    fn an_address_must_be_public_or_listed() {
        let hosts = ["http://localhost:9000", "http://127.0.0.1:9000"];
        let by_name = rules(&hosts, &[]);
        assert!(by_name.check_url("http://localhost:9000/").is_ok());
        assert!(by_name.check_url("http://127.0.0.1:9000/").is_ok());
        // A wildcard is no address.
        let wildcard = rules(&["http://*.0.0.1:9000"], &[]);
        assert!(wildcard.check_url("http://127.0.0.1:9000/").is_err());
        let refused = by_name
            .addresses
            .check_address("127.0.0.1".parse().unwrap());
        assert!(refused.is_err(), "a name does not list what it resolves to");
        let listed = rules(&["http://localhost:9000"], &["127.0.0.0/8"]);
        let allowed = listed.addresses.check_address("127.0.0.1".parse().unwrap());
        assert_eq!(allowed, Ok(()));
    }
}

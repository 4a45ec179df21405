//! Rejects proxy variables that reqwest would silently ignore, which would send requests around
//! the proxy.

use std::ffi::OsString;

use reqwest::Url;

use crate::error::Error;

const PROXY_SCHEMES: [&str; 6] = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];

pub(crate) fn check_proxies(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<(), Error> {
    for (variable, value) in variables {
        let (variable, value) = (variable.to_string_lossy(), value.to_string_lossy());
        let value = value.trim();
        let upper = variable.to_ascii_uppercase();
        if !matches!(&*upper, "HTTPS_PROXY" | "HTTP_PROXY" | "ALL_PROXY") || value.is_empty() {
            continue;
        }
        // A value without a scheme means http.
        let address = if value.contains("://") {
            Url::parse(value)
        } else {
            Url::parse(&format!("http://{value}"))
        };
        let reason = match address {
            Ok(url) if !PROXY_SCHEMES.contains(&url.scheme()) => {
                format!("the scheme {}:// is not supported", url.scheme())
            }
            Ok(url) if url.has_host() => continue,
            Ok(_) => "it has no host".to_owned(),
            Err(error) => error.to_string(),
        };
        return Err(Error::InvalidProxy {
            variable: variable.into_owned(),
            reason: reason.replace(char::is_control, " "),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_proxies_are_rejected() {
        let check = |variable: &str, value: &str| {
            check_proxies([(variable.into(), value.into())].into_iter())
                .map_err(|error| error.to_string())
        };
        for value in [
            "",
            "  ",
            "http://a:3128",
            "proxy.example:8080",
            "socks5h://u:p@[::1]:9",
        ] {
            check("HTTPS_PROXY", value).unwrap();
        }
        check("OTHER", "foo://a").unwrap();
        for value in ["foo://u:secret@a:1", "http://", "http://a:port"] {
            let error = check("https_proxy", value).unwrap_err();
            assert!(error.starts_with("https_proxy names a proxy"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}

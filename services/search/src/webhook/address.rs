//! Which addresses a webhook may connect to: those of the public internet, and listed ones.
//!
//! Source of the ranges: the IANA registries of special-purpose addresses
//! (<https://www.iana.org/assignments/iana-ipv4-special-registry>,
//! <https://www.iana.org/assignments/iana-ipv6-special-registry>).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// The addresses that share their first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressRange {
    first: IpAddr,
    /// The number of shared bits.
    prefix: u8,
}

impl AddressRange {
    const fn v4(a: u8, b: u8, c: u8, prefix: u8) -> Self {
        Self {
            first: IpAddr::V4(Ipv4Addr::new(a, b, c, 0)),
            prefix,
        }
    }

    const fn v6(a: u16, b: u16, prefix: u8) -> Self {
        Self {
            first: IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0)),
            prefix,
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let differing = (first.to_bits() ^ address.to_bits()).leading_zeros();
                differing >= u32::from(self.prefix)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let differing = (first.to_bits() ^ address.to_bits()).leading_zeros();
                differing >= u32::from(self.prefix)
            }
            _ => false,
        }
    }
}

impl From<IpAddr> for AddressRange {
    fn from(address: IpAddr) -> Self {
        let first = address.to_canonical();
        Self {
            first,
            prefix: if first.is_ipv4() { 32 } else { 128 },
        }
    }
}

impl TryFrom<String> for AddressRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no address or range, such as 10.1.2.3 or 10.0.0.0/8");
        let (first, prefix) = match text.split_once('/') {
            Some((first, prefix)) => (first, Some(prefix)),
            None => (text.as_str(), None),
        };
        let first: IpAddr = first.trim().parse().map_err(|_| wrong())?;
        let Some(prefix) = prefix else {
            return Ok(first.into());
        };
        let prefix = prefix.trim().parse().map_err(|_| wrong())?;
        let max = if first.is_ipv4() { 32 } else { 128 };
        match prefix <= max {
            true => Ok(Self { first, prefix }),
            false => Err(wrong()),
        }
    }
}

impl From<AddressRange> for String {
    fn from(range: AddressRange) -> Self {
        format!("{}/{}", range.first, range.prefix)
    }
}

/// IPv4 addresses that are not of the public internet, each with its kind.
const SPECIAL_V4: [(AddressRange, &str); 16] = [
    (AddressRange::v4(0, 0, 0, 8), "an address of this network"),
    (AddressRange::v4(10, 0, 0, 8), "a private address"),
    (
        AddressRange::v4(100, 64, 0, 10),
        "an address of a provider's network",
    ),
    (AddressRange::v4(127, 0, 0, 8), "a loopback address"),
    // Also the metadata service of most clouds, 169.254.169.254.
    (AddressRange::v4(169, 254, 0, 16), "a link-local address"),
    (AddressRange::v4(172, 16, 0, 12), "a private address"),
    (AddressRange::v4(192, 0, 0, 24), "a reserved address"),
    (
        AddressRange::v4(192, 0, 2, 24),
        "an address for documentation",
    ),
    (AddressRange::v4(192, 88, 99, 24), "a reserved address"),
    (AddressRange::v4(192, 168, 0, 16), "a private address"),
    (
        AddressRange::v4(198, 18, 0, 15),
        "an address for benchmarks",
    ),
    (
        AddressRange::v4(198, 51, 100, 24),
        "an address for documentation",
    ),
    (
        AddressRange::v4(203, 0, 113, 24),
        "an address for documentation",
    ),
    (AddressRange::v4(224, 0, 0, 4), "a multicast address"),
    (AddressRange::v4(240, 0, 0, 4), "a reserved address"),
    // The metadata service of Azure is outside the special ranges.
    (
        AddressRange::v4(168, 63, 129, 24),
        "an address of a cloud's metadata",
    ),
];

/// The only range of public IPv6 addresses.
const GLOBAL_V6: AddressRange = AddressRange::v6(0x2000, 0, 3);

/// Parts of it that are not public, or contain an IPv4 address.
const SPECIAL_V6: [(AddressRange, &str); 4] = [
    (AddressRange::v6(0x2001, 0, 23), "a reserved address"),
    (
        AddressRange::v6(0x2001, 0xdb8, 32),
        "an address for documentation",
    ),
    (AddressRange::v6(0x2002, 0, 16), "an address of a tunnel"),
    (
        AddressRange::v6(0x3fff, 0, 20),
        "an address for documentation",
    ),
];

/// Returns the kind of an address that is not of the public internet.
fn special_kind(address: IpAddr) -> Option<&'static str> {
    let find = |ranges: &[(AddressRange, &'static str)]| {
        let range = ranges.iter().find(|(range, _)| range.contains(address));
        range.map(|(_, kind)| *kind)
    };
    match address {
        IpAddr::V4(_) => find(&SPECIAL_V4),
        IpAddr::V6(_) if !GLOBAL_V6.contains(address) => Some("a local or reserved address"),
        IpAddr::V6(_) => find(&SPECIAL_V6),
    }
}

/// The addresses that webhooks may connect to.
#[derive(Debug, Clone, Default)]
pub(crate) struct AddressRules {
    allowed: Vec<AddressRange>,
}

impl AddressRules {
    pub(crate) fn new(allowed: Vec<AddressRange>) -> Self {
        Self { allowed }
    }

    /// # Errors
    /// Why requests may not go to this address.
    pub(crate) fn check_address(&self, address: IpAddr) -> Result<(), String> {
        // An IPv4 address in an IPv6 one is that IPv4 address to the system.
        let address = address.to_canonical();
        if self.allowed.iter().any(|range| range.contains(address)) {
            return Ok(());
        }
        match special_kind(address) {
            None => Ok(()),
            Some(kind) => Err(format!(
                "{address} is {kind}, and webhooks.allowed_addresses does not contain it"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allowed: &[&str]) -> AddressRules {
        let ranges = allowed.iter().map(|text| (*text).to_owned().try_into());
        AddressRules::new(ranges.collect::<Result<_, _>>().unwrap())
    }

    #[test]
    fn only_public_addresses_are_allowed() {
        let refused = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.19.0.1",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
        ];
        for address in refused {
            let checked = rules(&[]).check_address(address.parse().unwrap());
            assert!(checked.is_err(), "{address}");
        }
        let public = [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.255.255",
            "172.32.0.1",
            "169.253.0.1",
            "192.167.0.1",
            "::ffff:1.1.1.1",
            "2606:4700::1111",
            "2a00:1450::1",
        ];
        for address in public {
            let checked = rules(&[]).check_address(address.parse().unwrap());
            assert_eq!(checked, Ok(()), "{address}");
        }
    }

    #[test]
    fn listed_addresses_are_allowed() {
        let rules = rules(&["10.0.0.0/8", "127.0.0.1", "fd00::/8"]);
        for (address, allowed) in [
            ("10.255.0.1", true),
            ("::ffff:10.0.0.1", true),
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("fd12::1", true),
            ("fc12::1", false),
            ("::1", false),
        ] {
            let checked = rules.check_address(address.parse().unwrap());
            assert_eq!(checked.is_ok(), allowed, "{address}");
        }
        let error = rules.check_address("192.168.0.1".parse().unwrap());
        let error = error.unwrap_err();
        assert!(error.contains("a private address"), "{error}");
    }

    #[test]
    fn ranges_are_read_as_written() {
        for text in [
            "",
            "x",
            "10.0.0.0/33",
            "10.0.0.0/x",
            "::/129",
            "10.0.0.0/-1",
        ] {
            assert!(AddressRange::try_from(text.to_owned()).is_err(), "{text}");
        }
        let range = AddressRange::try_from("10.0.0.0/8".to_owned()).unwrap();
        assert_eq!(String::from(range), "10.0.0.0/8");
        let mapped = AddressRange::try_from("::ffff:127.0.0.1".to_owned()).unwrap();
        assert_eq!(String::from(mapped), "127.0.0.1/32");
    }
}

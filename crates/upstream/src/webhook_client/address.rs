//! Addresses to which a message may be sent: public ones only. Otherwise the name of a receiver could reach services
//! that only this machine can reach (S8).
//!
//! The connected address counts, however the URL spells it. [`literal_address`] reads the spellings of an address in a
//! URL, so that `check-config` can report it early; a delivery checks the resolved addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// True if an address is one of the public Internet. Everything that is not known to be is not.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// By the registry of special-purpose addresses (RFC 6890), and one cloud's metadata service in public space.
fn is_public_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        [0 | 10 | 127 | 224..=255, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [192, 168, ..]
            | [198, 18..=19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            | [168, 63, 129, 16]
    )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let v4 = |high: u16, low: u16| is_public_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match address.segments() {
        // Mapped (::ffff:0:0/96), compatible (::/96) and translated (64:ff9b::/96, ::ffff:0:0:0/96): the address
        // within is reached.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        // 6to4
        | [0x2002, high, low, ..] => v4(high, low),
        // Protocol assignments (Teredo, ORCHID, benchmarking) and documentation.
        [0x2001, 0..=0x01ff | 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => false,
        // Global unicast is this; what lies outside is loopback, link-local, unique-local, multicast or nobody's.
        [first, ..] => first >> 13 == 1,
    }
}

/// The address that a host of a URL spells, in any of the forms that resolvers take without asking anybody:
/// `127.0.0.1`, `[::1]`, `2130706433`, `0x7f.1`, `localhost`. `None` for a name.
#[must_use]
pub fn literal_address(host: &str) -> Option<IpAddr> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = host.parse() {
        return Some(address);
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    let name = host.rsplit('.').next().unwrap_or_default();
    if name.eq_ignore_ascii_case("localhost") {
        return Some(Ipv4Addr::LOCALHOST.into());
    }
    loose_v4(host).map(IpAddr::V4)
}

/// The old forms of `inet_aton`: one to four numbers, decimal, octal or hexadecimal, the last of which fills what
/// is left.
fn loose_v4(host: &str) -> Option<Ipv4Addr> {
    let number = |text: &str| match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some("") => Some(0),
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None if text.len() > 1 && text.starts_with('0') => u32::from_str_radix(text, 8).ok(),
        None => text.parse::<u32>().ok(),
    };
    let parts: Vec<u32> = host.split('.').map(number).collect::<Option<_>>()?;
    let (last, bytes) = parts.split_last()?;
    if bytes.len() > 3 || bytes.iter().any(|byte| *byte > 255) {
        return None;
    }
    let room = 32 - 8 * u32::try_from(bytes.len()).ok()?;
    if room < 32 && *last >> room != 0 {
        return None;
    }
    let high = bytes.iter().fold(0, |sum, byte| sum << 8 | byte);
    Some(Ipv4Addr::from(high.checked_shl(room).unwrap_or(0) | last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_public() {
        let private = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.1.2.3",
            "::ffff:0:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::808:808",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2001:20::1",
            "2002:7f00:1::",
            "2002:c0a8:101::1",
            "3fff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ];
        for text in private {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        let public = [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.32.0.1",
            "169.253.1.1",
            "192.0.1.1",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "3ffe::1",
        ];
        for text in public {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn an_address_is_seen_in_every_spelling() {
        let loopback = [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0X7F.0x0.0.01",
            "0177.0.0.1",
            "017700000001",
            "127.0.0.1.",
            "localhost",
            "LOCALHOST.",
            "hooks.localhost",
        ];
        for host in loopback {
            assert_eq!(literal_address(host), Some(Ipv4Addr::LOCALHOST.into()), "{host}");
        }
        assert_eq!(literal_address("[::1]"), Some(Ipv6Addr::LOCALHOST.into()));
        assert_eq!(literal_address("[::ffff:127.0.0.1]"), Some("::ffff:127.0.0.1".parse().unwrap()));
        assert_eq!(literal_address("0"), Some(Ipv4Addr::UNSPECIFIED.into()));
        assert_eq!(literal_address("0x"), Some(Ipv4Addr::UNSPECIFIED.into()));
        assert_eq!(literal_address("8.8.2056"), Some(Ipv4Addr::new(8, 8, 8, 8).into()));
        for host in [
            "hooks.example.com",
            "1.2.3.4.5",
            "256.1.1.1",
            "1.2.3.256",
            "4294967296",
            "0x7g.1",
            "1..2",
            "",
            ".",
        ] {
            assert_eq!(literal_address(host), None, "{host}");
        }
    }
}

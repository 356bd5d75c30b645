//! Hosts in their only form, so that two spellings of one host are equal.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A host in its only form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name in lower case, without a dot at its end.
    Name(String),
    /// An address. One of IPv4 that is written as IPv6 is one of IPv4.
    Address(IpAddr),
}

impl Host {
    /// Whether this is the host that the configuration calls `name`.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        Self::parse(name).is_ok_and(|name| name == *self)
    }

    /// Whether this is a name or an address of the machine itself.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => name == "localhost",
            Self::Address(address) => address.is_loopback(),
        }
    }

    /// Reads a name, an address of IPv4, or one of IPv6 in brackets.
    ///
    /// # Errors
    /// Text of any other form; a port is among those.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(rest) = text.strip_prefix('[') {
            let address = rest.strip_suffix(']').and_then(|text| text.parse::<Ipv6Addr>().ok());
            let address = address.ok_or("the host is no IPv6 address in brackets")?;
            return Ok(Self::Address(IpAddr::V6(address).to_canonical()));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            // Without brackets the end of IPv6 and a port look alike.
            return if address.is_ipv4() { Ok(Self::Address(address)) } else { Err(NOT_A_HOST) };
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(legal);
        if name.len() > 253 || !name.split('.').all(is_label) {
            return Err(NOT_A_HOST);
        }
        Ok(Self::Name(name.to_ascii_lowercase()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// Why text is no host.
pub const NOT_A_HOST: &str = "the host is neither a name nor an address";

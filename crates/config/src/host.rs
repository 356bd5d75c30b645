//! Hosts in a normalized form, so that two spellings of one host are equal.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A host in its normalized form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name in lower case, without a trailing dot.
    Name(String),
    /// An address. An IPv4 address in IPv6 notation counts as IPv4.
    Address(IpAddr),
}

impl Host {
    /// Returns true if the configuration's `name` means this host.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        Self::parse(name).is_ok_and(|name| name == *self)
    }

    /// Returns true for a name or an address of this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => name == "localhost",
            Self::Address(address) => address.is_loopback(),
        }
    }

    /// Parses a name, an IPv4 address, or an IPv6 address in brackets.
    ///
    /// # Errors
    /// If the text has another form, such as one with a port.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(rest) = text.strip_prefix('[') {
            let address = rest.strip_suffix(']').and_then(|text| text.parse::<Ipv6Addr>().ok());
            let address = address.ok_or("the host is no IPv6 address in brackets")?;
            return Ok(Self::Address(IpAddr::V6(address).to_canonical()));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            // Without brackets, the end of an IPv6 address is indistinguishable from a port.
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

/// The error for a text that is not a host.
pub const NOT_A_HOST: &str = "the host is neither a name nor an address";

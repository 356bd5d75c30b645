//! Client certificates. TLS has verified issuer and validity; this module reads the names of the holder.

use std::net::IpAddr;

use x509_parser::extensions::GeneralName;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

/// Names in the client certificate of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) subject: String,
    pub(crate) names: Vec<String>,
}

impl Certificate {
    /// Reads a certificate that TLS has found to be good; `None` when it cannot be read all the same.
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names = match certificate.subject_alternative_name().ok()? {
            Some(names) => names.value.general_names.iter().filter_map(alternative).collect(),
            None => Vec::new(),
        };
        Some(Self { subject: subject(certificate.subject())?, names })
    }
}

fn alternative(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(format!("dns:{}", name.to_ascii_lowercase())),
        GeneralName::URI(uri) => Some(format!("uri:{uri}")),
        GeneralName::RFC822Name(address) => Some(format!("email:{address}")),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let v6 = || <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| v6()).ok().map(|address| format!("ip:{address}"))
        }
        _ => None,
    }
}

/// Such as `CN=nightly,O=Example`, in the order of the certificate; parts that belong together have a
/// plus between them. A comma, plus or backslash within
/// a value has a backslash before it, so that no value can look like two.
fn subject(name: &X509Name<'_>) -> Option<String> {
    let mut text = String::new();
    let parts = name.iter_rdn().flat_map(|rdn| rdn.iter().enumerate());
    for (number, attribute) in parts {
        let kind = oid2abbrev(attribute.attr_type(), oid_registry()).ok()?;
        if !text.is_empty() {
            text.push(if number == 0 { ',' } else { '+' });
        }
        text.push_str(kind);
        text.push('=');
        for character in attribute.as_str().ok()?.chars() {
            if matches!(character, ',' | '+' | '\\') {
                text.push('\\');
            }
            text.push(character);
        }
    }
    Some(text)
}

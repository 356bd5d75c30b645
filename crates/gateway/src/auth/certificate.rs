//! Identifies callers by client certificate.

use restore_engine::Identity;

use super::Row;
use crate::server::certificate::Certificate;

/// The certificates that callers have.
#[derive(Default)]
pub(crate) struct Certificates(Vec<(Vec<String>, Vec<String>, Row)>);

impl Certificates {
    /// Takes in a caller by subjects and alternative names.
    pub(crate) fn add(&mut self, subjects: Vec<String>, names: Vec<String>, row: Row) {
        let names = names.into_iter().map(|name| match name.strip_prefix("dns:") {
            Some(host) => format!("dns:{}", host.to_ascii_lowercase()),
            None => name,
        });
        self.0.push((subjects, names.collect(), row));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn identify(&self, certificate: &Certificate) -> Option<Identity> {
        let known = |(subjects, names, _): &&(Vec<String>, Vec<String>, Row)| {
            subjects.contains(&certificate.subject)
                || certificate.names.iter().any(|name| names.contains(name))
        };
        self.0.iter().find(known).map(|(_, _, row)| row.caller())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(common_name: &str, names: Vec<SanType>) -> Certificate {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.subject_alt_names = names;
        let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Certificate::read(der.der()).unwrap()
    }

    fn callers() -> Certificates {
        let row = |name: &str| Row { name: name.into(), grants: [].into() };
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let mut callers = Certificates::default();
        callers.add(texts(&["O=Example,CN=nightly"]), Vec::new(), row("by-subject"));
        let names =
            texts(&["uri:spiffe://example/ns/jobs/sa/nightly", "dns:Jobs.Example.Test", "ip:10.0.0.7"]);
        callers.add(Vec::new(), names, row("by-name"));
        callers
    }

    #[test]
    fn a_certificate_is_known_by_subject_or_name_exactly() {
        let callers = callers();
        let name =
            |certificate: &Certificate| callers.identify(certificate).map(|known| known.name.to_string());
        assert_eq!(name(&certificate("nightly", vec![])).as_deref(), Some("by-subject"));
        let uri = |uri: &str| vec![SanType::URI(uri.try_into().unwrap())];
        assert_eq!(
            name(&certificate("x", uri("spiffe://example/ns/jobs/sa/nightly"))).as_deref(),
            Some("by-name")
        );
        assert_eq!(name(&certificate("x", uri("spiffe://example/ns/jobs/sa/nightly/more"))), None);
        let dns = |name: &str| vec![SanType::DnsName(name.try_into().unwrap())];
        assert_eq!(name(&certificate("x", dns("jobs.EXAMPLE.test"))).as_deref(), Some("by-name"));
        assert_eq!(name(&certificate("x", dns("jobs.example.test.evil"))), None);
        let ip = vec![SanType::IpAddress("10.0.0.7".parse().unwrap())];
        assert_eq!(name(&certificate("x", ip)).as_deref(), Some("by-name"));
        assert_eq!(name(&certificate("Nightly", vec![])), None);
    }

    #[test]
    fn a_value_cannot_look_like_two() {
        let sly = certificate("nightly,O=Example", vec![]);
        assert_eq!(sly.subject, "O=Example,CN=nightly\\,O=Example");
        assert!(callers().identify(&sly).is_none());
        assert!(Certificate::read(b"no certificate").is_none());
    }
}

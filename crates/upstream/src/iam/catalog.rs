//! The catalog of a token: the addresses of the services of its project. Its URLs may contain the project, a version or
//! a slash at the end (cloud APIs 5.1). All of these are removed here, because calls add their own.
//!
//! The catalog is part of a response of IAM, so it is trusted as far as IAM is: `https` only, unless IAM itself is
//! plain HTTP on this machine, and then for this machine only.

use std::collections::BTreeSet;

use http::Uri;
use serde_json::Value;

/// One endpoint that may be called.
struct Entry {
    service: String,
    regions: [String; 2],
    /// Scheme, authority and what stands before the version, or why it is not called.
    base: Result<String, &'static str>,
}

/// The public endpoints of one project.
pub(super) struct Catalog(Vec<Entry>);

impl Catalog {
    /// Reads the `catalog` of a token for this project that IAM at this address gave.
    pub(super) fn read(catalog: &Value, project: &str, iam: &Uri) -> Self {
        let clear = iam.scheme_str() == Some("http") && is_loopback(iam);
        let mut entries = Vec::new();
        for service in catalog.as_array().into_iter().flatten() {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let endpoints = service["endpoints"].as_array().into_iter().flatten();
            for endpoint in endpoints.filter(|endpoint| endpoint["interface"] == "public") {
                entries.push(Entry {
                    service: text(&service["type"]),
                    regions: [text(&endpoint["region"]), text(&endpoint["region_id"])],
                    base: base(endpoint["url"].as_str().unwrap_or_default(), project, clear),
                });
            }
        }
        Self(entries)
    }

    /// The base URL of the first of these services that is there.
    pub(super) fn base(&self, services: &[&str], region: Option<&str>) -> Result<String, String> {
        let of = |service: &str| {
            let here = |entry: &&Entry| {
                entry.service == service
                    && region.is_none_or(|region| entry.regions.iter().any(|r| r == region))
            };
            self.0.iter().filter(here).collect::<Vec<_>>()
        };
        let found = services.iter().map(|service| of(service)).find(|found| !found.is_empty());
        let names = services.join(" or ");
        let Some(found) = found else {
            let place = region.map_or_else(String::new, |region| format!(" in region {region}"));
            return Err(format!("it has no public endpoint of {names}{place}"));
        };
        let bases: BTreeSet<&str> = found.iter().filter_map(|entry| entry.base.as_deref().ok()).collect();
        let regions: BTreeSet<&str> = found.iter().map(|entry| entry.regions[0].as_str()).collect();
        match (bases.first(), bases.len(), found.iter().find_map(|entry| entry.base.as_ref().err())) {
            (Some(base), 1, _) => Ok((*base).to_owned()),
            (None, _, Some(why)) => Err(format!("its endpoint of {names} {why}")),
            _ if region.is_none() && regions.len() > 1 => {
                let regions = regions.into_iter().collect::<Vec<_>>().join(", ");
                Err(format!(
                    "{names} is in several regions ({regions}): `region` of the upstream must name one"
                ))
            }
            _ => Err(format!("it has several endpoints of {names}: write `endpoint` into the upstream")),
        }
    }
}

/// True if a URL leads to this machine, by the words it is written in.
#[must_use]
pub fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The base URL before version and project.
fn base(url: &str, project: &str, clear: bool) -> Result<String, &'static str> {
    let uri: Uri = url.parse().map_err(|_| "is no url")?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err("is no absolute url");
    };
    if authority.as_str().contains('@') || uri.query().is_some() || url.contains('#') {
        return Err("holds more than an address");
    }
    match scheme {
        "https" => {}
        "http" if clear && is_loopback(&uri) => {}
        "http" => return Err("is without tls, and no token is sent in clear"),
        _ => return Err("is not of http"),
    }
    let mut segments: Vec<&str> = uri.path().split('/').filter(|segment| !segment.is_empty()).collect();
    if segments.iter().any(|segment| matches!(*segment, "." | "..")) {
        return Err("has a path that leads elsewhere");
    }
    if segments.last() == Some(&project) {
        segments.pop();
    }
    let is_version = |segment: &&str| {
        let digits = segment.strip_prefix('v').unwrap_or_default();
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    };
    if segments.last().is_some_and(is_version) {
        segments.pop();
    }
    let path: String = segments.iter().flat_map(|segment| ["/", segment]).collect();
    Ok(format!("{scheme}://{authority}{path}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PROJECT: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";

    fn catalog(iam: &str, endpoints: &[(&str, &str, &str, &str)]) -> Catalog {
        let entry = |(service, interface, region, url): &(&str, &str, &str, &str)| {
            json!({"type": service, "endpoints": [
                {"interface": interface, "region": region, "region_id": region, "url": url}]})
        };
        Catalog::read(&endpoints.iter().map(entry).collect(), PROJECT, &iam.parse().unwrap())
    }

    #[test]
    fn urls_lose_version_project_and_slash() {
        let host = "https://cbr.eu-test-1.cloud.example";
        for tail in [
            "",
            "/",
            "/v3",
            "/v3/",
            "/v3/0a1b2c3d4e5f60718293a4b5c6d7e8f9",
            "/v3/0a1b2c3d4e5f60718293a4b5c6d7e8f9/",
            "/v2.1",
            "/0a1b2c3d4e5f60718293a4b5c6d7e8f9",
        ] {
            assert_eq!(base(&format!("{host}{tail}"), PROJECT, false).as_deref(), Ok(host), "{tail}");
        }
        assert_eq!(base("https://h:8443/cbr/v3/", PROJECT, false).as_deref(), Ok("https://h:8443/cbr"));
        assert_eq!(base("https://h/vault", PROJECT, false).as_deref(), Ok("https://h/vault"));
    }

    #[test]
    fn what_is_not_safe_to_call_is_not_called() {
        let loopback = "http://127.0.0.1:9000/cbr/v3";
        assert_eq!(base(loopback, PROJECT, true).as_deref(), Ok("http://127.0.0.1:9000/cbr"));
        for (url, clear) in [
            (loopback, false),
            ("http://cbr.eu-test-1.cloud.example/v3", true),
            ("http://cbr.eu-test-1.cloud.example/v3", false),
            ("ftp://cbr.eu-test-1.cloud.example", false),
            ("https://user@cbr.eu-test-1.cloud.example", false),
            ("https://h/v3?x=1", false),
            ("https://h/../v3", false),
            ("/v3", false),
            ("", false),
        ] {
            assert!(base(url, PROJECT, clear).is_err(), "{url}");
        }
        let elsewhere = catalog("https://iam.example", &[("cbr", "public", "r", "http://10.0.0.1/v3")]);
        assert!(elsewhere.base(&["cbr"], None).unwrap_err().contains("without tls"));
        let remote = catalog("http://iam.example", &[("cbr", "public", "r", "http://127.0.0.1/v3")]);
        assert!(remote.base(&["cbr"], None).is_err(), "in clear, but IAM is not on this machine");
    }

    #[test]
    fn one_endpoint_is_found_or_a_clear_error_is_reported() {
        let two = catalog(
            "https://iam.example",
            &[
                ("cbr", "public", "eu-1", "https://cbr.eu-1.example/v3"),
                ("cbr", "public", "eu-2", "https://cbr.eu-2.example/v3"),
                ("cbr", "internal", "eu-3", "https://cbr.eu-3.example/v3"),
                ("vbsv2", "public", "eu-1", "https://vbs.eu-1.example/v2"),
                ("evs", "public", "eu-1", "https://a.example"),
                ("evs", "public", "eu-1", "https://b.example"),
            ],
        );
        assert_eq!(two.base(&["cbr"], Some("eu-2")).as_deref(), Ok("https://cbr.eu-2.example"));
        assert_eq!(two.base(&["vbs", "vbsv2"], None).as_deref(), Ok("https://vbs.eu-1.example"));
        let why = |services: &[&str], region| two.base(services, region).unwrap_err();
        assert!(why(&["cbr"], None).contains("several regions (eu-1, eu-2)"));
        assert!(why(&["cbr"], Some("eu-3")).contains("no public endpoint of cbr in region eu-3"));
        assert!(why(&["evs"], None).contains("several endpoints"));
        let none = Catalog::read(&Value::Null, PROJECT, &"https://iam.example".parse().unwrap());
        assert!(none.base(&["cbr"], None).is_err());
    }
}

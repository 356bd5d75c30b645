//! Against pages of the web: a browser on this machine can reach what listens on loopback, and a page
//! can make a name of its own point there (DNS rebinding). What it sends then says so, in `Host` and
//! in `Origin`, which a page cannot choose. Both listeners check them; programs send no `Origin`.

use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Uri};
use restore_model::{Code, Problem};

/// By which names a listener is called.
#[derive(Clone, Debug, Default)]
pub(crate) struct SameSite {
    /// Whether only names of this machine count, and those of the settings.
    pub(crate) local: bool,
    /// Further names, in lower case.
    pub(crate) names: Vec<String>,
}

impl SameSite {
    /// Refuses what another site, or another name of this one, has sent.
    ///
    /// # Errors
    /// [`Code::ForeignOrigin`], or [`Code::MalformedRequest`] where there are two of either header.
    pub(crate) fn check(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Problem> {
        if [HOST, ORIGIN].iter().any(|name| headers.get_all(name).iter().nth(1).is_some()) {
            let detail = "Host and Origin may stand in a request once";
            return Err(Problem::new(Code::MalformedRequest, detail));
        }
        let host = host(headers, uri);
        if self.local && !host.as_ref().is_some_and(|host| self.names(host)) {
            let detail = "the Host header does not name this machine; nothing was sent";
            return Err(Problem::new(Code::ForeignOrigin, detail));
        }
        let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
        let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        let origin = origin.and_then(|(_, authority)| authority.parse::<Authority>().ok());
        if origin.is_some() && origin == host {
            return Ok(());
        }
        Err(Problem::new(Code::ForeignOrigin, "the Origin header names another site; nothing was sent"))
    }

    fn names(&self, authority: &Authority) -> bool {
        let name = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
        name == "localhost"
            || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
            || self.names.contains(&name)
    }
}

/// Whom a request is addressed to.
fn host(headers: &HeaderMap, uri: &Uri) -> Option<Authority> {
    let named = headers.get(HOST).and_then(|host| host.to_str().ok());
    named.or_else(|| uri.authority().map(Authority::as_str))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(site: &SameSite, host: &'static str, origin: Option<&'static str>) -> bool {
        let mut headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
        headers.extend(origin.map(|origin| (ORIGIN, HeaderValue::from_static(origin))));
        site.check(&headers, &Uri::from_static("/")).is_ok()
    }

    #[test]
    fn a_page_of_another_site_is_told_by_what_it_cannot_choose() {
        let local = SameSite { local: true, names: vec!["gateway".to_owned()] };
        for host in ["127.0.0.1:8080", "localhost", "LocalHost:1", "[::1]:8080", "Gateway:8080"] {
            assert!(check(&local, host, None), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8080", "10.0.0.7"] {
            assert!(!check(&local, host, None), "{host}");
        }
        let open = SameSite::default();
        assert!(check(&open, "evil.example", None) && check(&open, "a.example", Some("https://a.example")));
        for origin in ["null", "http://evil.example", "http://localhost:8081"] {
            assert!(!check(&open, "localhost:8080", Some(origin)), "{origin}");
        }
    }
}

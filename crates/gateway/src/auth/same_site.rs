//! Protects against web pages: a browser on this machine can reach loopback, and a page can point its own host name
//! there (DNS rebinding). The page cannot choose the `Host` and `Origin` that the browser sends, so both listeners
//! check them. Programs send no `Origin`.

use http::HeaderMap;
use http::header::ORIGIN;
use restore_model::{Code, Problem};

use crate::web::destination::{self, Destination};
use restore_config::Host;

/// The hosts that requests to a listener may name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Hosts {
    /// Any: callers prove who they are, which a page cannot.
    #[default]
    Any,
    /// Names and addresses of this machine, and those of the configuration.
    Local,
    /// Those, and any IP address: a listener without callers that other machines can reach. Only a name can be
    /// pointed elsewhere (DNS rebinding), and probes of orchestrators call the address.
    Named,
}

impl Hosts {
    /// For a listener at an address of this machine, with or without callers.
    pub(crate) const fn of(is_loopback: bool, has_callers: bool) -> Self {
        match (is_loopback, has_callers) {
            (true, _) => Self::Local,
            (false, true) => Self::Any,
            (false, false) => Self::Named,
        }
    }
}

/// By which names a listener is called.
#[derive(Clone, Debug, Default)]
pub(crate) struct SameSite {
    /// The hosts that count.
    pub(crate) hosts: Hosts,
    /// Further names, in lower case.
    pub(crate) names: Vec<String>,
}

impl SameSite {
    /// Refuses what another site, or another name of this one, has sent.
    ///
    /// # Errors
    /// [`Code::CrossSiteRequest`], or [`Code::MalformedRequest`] where there are two `Origin` headers.
    pub(crate) fn check(&self, headers: &HeaderMap, destination: &Destination) -> Result<(), Problem> {
        let mut origins = headers.get_all(ORIGIN).iter();
        let (origin, second) = (origins.next(), origins.next());
        if second.is_some() {
            return Err(Problem::new(Code::MalformedRequest, "Origin may stand in a request once"));
        }
        if self.hosts != Hosts::Any && !destination.host().is_some_and(|host| self.names(host)) {
            let detail = "the Host header does not name this gateway; nothing was sent. listen.allowed_hosts lists \
                          further names of a listener without callers";
            return Err(Problem::new(Code::CrossSiteRequest, detail));
        }
        let Some(origin) = origin else { return Ok(()) };
        let origin = origin.to_str().unwrap_or_default();
        if destination::is_origin_of(origin, destination.authority()) {
            return Ok(());
        }
        Err(Problem::new(Code::CrossSiteRequest, "the Origin header names another site; nothing was sent"))
    }

    fn names(&self, host: &Host) -> bool {
        let is_address = matches!(host, Host::Address(_));
        host.is_loopback()
            || (is_address && self.hosts == Hosts::Named)
            || self.names.iter().any(|name| host.is(name))
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn check(site: &SameSite, host: &'static str, origin: Option<&'static str>) -> bool {
        let mut request = Request::get("/").header("host", host);
        if let Some(origin) = origin {
            request = request.header(ORIGIN, origin);
        }
        let mut request = request.body(()).unwrap();
        let destination = Destination::take(&mut request, &destination::Place::default());
        destination.verdict().is_ok() && site.check(request.headers(), &destination).is_ok()
    }

    #[test]
    fn a_page_of_another_site_is_recognised_by_headers_that_it_cannot_choose() {
        let local = SameSite { hosts: Hosts::Local, names: vec!["gateway".to_owned()] };
        for host in ["127.0.0.1:8080", "localhost", "LocalHost:1", "[::1]:8080", "Gateway:8080"] {
            assert!(check(&local, host, None), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8080", "10.0.0.7"] {
            assert!(!check(&local, host, None), "{host}");
        }
        let named = SameSite { hosts: Hosts::Named, ..local.clone() };
        for host in ["10.0.0.7:8081", "[fd00::7]", "localhost", "gateway"] {
            assert!(check(&named, host, None), "{host}");
        }
        for host in ["evil.example", "10.0.0.7.evil.example", "0x0a000007", "10.7", "gateway.evil.example"] {
            assert!(!check(&named, host, None), "{host}");
        }
        let open = SameSite::default();
        assert!(check(&open, "evil.example", None) && check(&open, "a.example", Some("https://a.example")));
        assert!(check(&open, "a.example:443", Some("https://A.example")), "the port of the scheme");
        for origin in [
            "null",
            "http://evil.example",
            "http://localhost:8081",
            "http://x@localhost:8080",
            "localhost:8080",
        ] {
            assert!(!check(&open, "localhost:8080", Some(origin)), "{origin}");
        }
    }
}

//! Destination: the host and port of a request, decided once by the listener, before anything else reads the request.
//!
//! A request can name its authority in up to three places: the target in absolute form, `:authority` of HTTP/2, and
//! `Host`. Two readers that prefer different places understand two requests in one. So [`Destination::take`] is the
//! only reader: it compares the places, rejects a request in which they differ, and removes all of them from the
//! request, so that no code behind it can read another one. A test searches the sources for such a read.

use std::fmt;
use std::sync::Arc;

use http::header::HOST;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Uri, Version};
use restore_config::{Host, NOT_A_HOST};

/// A host and the port behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The host.
    pub host: Host,
    /// The port, where one is written.
    pub port: Option<u16>,
}

impl Authority {
    /// Reads `host`, `host:port`, `[address]` or `[address]:port`.
    ///
    /// # Errors
    /// Text of any other form; user names and passwords are among those.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.contains('@') {
            return Err("a user name does not belong into the authority");
        }
        let end = text.rfind(']').map_or(0, |at| at + 1);
        let (host, port) = match text[end..].find(':') {
            None => (text, None),
            Some(at) => (&text[..end + at], Some(&text[end + at + 1..])),
        };
        let port = port.map(|digits| {
            let legal = (1..=5).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|port| legal && *port > 0).ok_or("the port is no number of a port")
        });
        Ok(Self { host: Host::parse(host)?, port: port.transpose()? })
    }

    /// True if both name the same place, where URLs of this scheme need no port for `default`.
    fn is_same(&self, other: &Self, default: Option<u16>) -> bool {
        self.host == other.host && self.port.or(default) == other.port.or(default)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// The port that URLs of a scheme have without saying so.
fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// The `Origin` of a page: whether it is the one that this destination belongs to.
pub(crate) fn is_origin_of(origin: &str, destination: Option<&Authority>) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let Ok(authority) = Authority::parse(authority) else { return false };
    destination.is_some_and(|destination| authority.is_same(destination, default_port(scheme)))
}

/// The listener that a request came in at, among those of this gateway.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Its own port.
    pub port: u16,
    /// The ports of all listeners that programs call, its own included.
    pub all: Arc<[u16]>,
    /// True if it speaks TLS.
    pub tls: bool,
}

impl Place {
    /// True if an authority names the port of another listener of this gateway. Behind a proxy the port can be any, so one
    /// that no listener has says nothing.
    fn is_not(&self, authority: &Authority) -> bool {
        let port = authority.port.unwrap_or(if self.tls { 443 } else { 80 });
        port != self.port && self.all.contains(&port)
    }
}

/// The host and port that a request is addressed to.
#[derive(Clone, Debug, Default)]
pub struct Destination {
    authority: Option<Authority>,
    /// `Host` as the sender wrote it, which a signature covers.
    written: Option<HeaderValue>,
    fault: Option<&'static str>,
    is_elsewhere: bool,
    is_path_ambiguous: bool,
}

impl Destination {
    /// Decides on the destination of a request and takes every mention of it out of the request: `Host`, and all of the
    /// target but path and query.
    pub fn take<B>(request: &mut Request<B>, place: &Place) -> Self {
        let uri = std::mem::take(request.uri_mut());
        let decided = decide(&uri, request.headers(), request.version());
        let written = request.headers_mut().remove(HOST);
        let target = uri.into_parts();
        let named = target.authority.and_then(|named| HeaderValue::from_str(named.as_str()).ok());
        let rest = with_path(target.path_and_query);
        let is_path_ambiguous = has_escaped_slash(rest.path());
        *request.uri_mut() = Uri::from(rest);
        match decided {
            // A doubtful authority is dropped.
            Err(fault) => Self { fault: Some(fault), is_path_ambiguous, ..Self::default() },
            Ok(authority) => {
                let is_elsewhere = authority.as_ref().is_some_and(|authority| place.is_not(authority));
                Self { authority, written: written.or(named), fault: None, is_elsewhere, is_path_ambiguous }
            }
        }
    }

    /// True if the request says clearly where it is addressed to.
    ///
    /// # Errors
    /// The error, in words that repeat nothing of the request.
    pub fn verdict(&self) -> Result<(), &'static str> {
        self.fault.map_or(Ok(()), Err)
    }

    /// Host and port. `None` where the request names none, or names them in two ways.
    #[must_use]
    pub const fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }

    /// The host alone.
    #[must_use]
    pub fn host(&self) -> Option<&Host> {
        self.authority.as_ref().map(|authority| &authority.host)
    }

    /// True if the port is that of another listener of this gateway.
    #[must_use]
    pub const fn is_elsewhere(&self) -> bool {
        self.is_elsewhere
    }

    /// True if the path has an escaped slash. A signature covers the decoded path, routes go by the path as it is written, and
    /// the two divide such a path differently.
    #[must_use]
    pub const fn is_path_ambiguous(&self) -> bool {
        self.is_path_ambiguous
    }

    /// The headers as the signer of the request saw them: with `Host`.
    #[must_use]
    pub fn as_signed(&self, headers: &HeaderMap) -> HeaderMap {
        let mut headers = headers.clone();
        if let Some(written) = &self.written {
            headers.insert(HOST, written.clone());
        }
        headers
    }
}

/// The path and the query of a target, with the path that a target in absolute form may leave out: a reader of the whole would
/// see none otherwise, and one of the path alone would see `/`.
fn with_path(written: Option<PathAndQuery>) -> PathAndQuery {
    let root = PathAndQuery::from_static("/");
    match written.as_ref().map(PathAndQuery::as_str) {
        None | Some("" | "/") => root,
        // It is shorter than the target was, and so no longer than a target may be.
        Some(query) if query.starts_with('?') => format!("/{query}").parse().unwrap_or(root),
        Some(_) => written.unwrap_or(root),
    }
}

/// The one authority of a request.
fn decide(uri: &Uri, headers: &HeaderMap, version: Version) -> Result<Option<Authority>, &'static str> {
    let mut hosts = headers.get_all(HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err("there is more than one Host");
    }
    let scheme = uri.scheme().map(Scheme::as_str);
    if scheme.is_some_and(|scheme| default_port(scheme).is_none()) {
        return Err("the target has a scheme other than http and https");
    }
    let target = uri.authority().map(|target| Authority::parse(target.as_str())).transpose()?;
    match (host, target) {
        (None, _) if version == Version::HTTP_11 => Err("HTTP/1.1 needs a Host"),
        (None, None) if version == Version::HTTP_2 => Err("HTTP/2 needs an :authority or a Host"),
        (None, target) => Ok(target),
        // Nobody is named; a listener that asks for a name refuses that by itself.
        (Some(host), None) if host.as_bytes().trim_ascii().is_empty() => Ok(None),
        (Some(host), target) => {
            let host = host.to_str().map_err(|_| NOT_A_HOST)?;
            let host = Authority::parse(host.trim_matches([' ', '\t']))?;
            let default = scheme.and_then(default_port);
            match target {
                Some(target) if !target.is_same(&host, default) => {
                    Err("the authority of the target and Host name different hosts")
                }
                _ => Ok(Some(host)),
            }
        }
    }
}

fn has_escaped_slash(path: &str) -> bool {
    let code = |at: usize| path.as_bytes().get(at + 1..at + 3).unwrap_or_default();
    memchr::memchr_iter(b'%', path.as_bytes()).any(|at| matches!(code(at), b"2f" | b"2F" | b"5c" | b"5C"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(version: Version, target: &str, hosts: &[&str]) -> (Destination, Request<()>) {
        let mut request = Request::builder().version(version).uri(target);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let mut request = request.body(()).unwrap();
        let place = Place { port: 8080, all: [8080, 9001].into(), tls: false };
        (Destination::take(&mut request, &place), request)
    }

    #[test]
    fn s52_authorities_that_agree_are_one_in_its_only_form() {
        for (target, host, shown) in [
            ("/a", "Gateway", "gateway"),
            ("/a", "gateway.", "gateway"),
            ("/a", "GATEWAY.internal.:8080", "gateway.internal:8080"),
            ("/a", "[::1]:8080", "[::1]:8080"),
            ("/a", "[0:0:0::1]", "[::1]"),
            ("/a", "[::ffff:127.0.0.1]:1", "127.0.0.1:1"),
            ("/a", "127.0.0.1:080", "127.0.0.1:80"),
            ("http://gateway/a", "gateway", "gateway"),
            ("http://gateway:80/a", "GateWay.", "gateway"),
            ("https://gateway/a", "gateway:443", "gateway:443"),
            ("http://[::1]:80/a", "[0::1]", "[::1]"),
            ("http://my_gateway:8080/a", "my_gateway:8080", "my_gateway:8080"),
        ] {
            for version in [Version::HTTP_11, Version::HTTP_2] {
                let (destination, request) = taken(version, target, &[host]);
                assert_eq!(destination.verdict(), Ok(()), "{target} {host}");
                assert_eq!(destination.authority().unwrap().to_string(), shown, "{target} {host}");
                assert_eq!(destination.as_signed(request.headers())[HOST], host, "the text that is signed");
                // Nothing is left that another reader could read.
                assert_eq!(
                    (request.uri(), request.headers().contains_key(HOST)),
                    (&Uri::from_static("/a"), false)
                );
            }
        }
        assert_eq!(taken(Version::HTTP_2, "http://a/", &[]).0.authority().unwrap().to_string(), "a");
        assert_eq!(taken(Version::HTTP_2, "http://a/", &[]).0.as_signed(&HeaderMap::new())[HOST], "a");
        assert!(taken(Version::HTTP_10, "/", &[]).0.authority().is_none());
        assert!(taken(Version::HTTP_11, "/", &[""]).0.authority().is_none());
    }

    #[test]
    fn s52_authorities_that_disagree_or_are_none_are_refused() {
        for (target, hosts) in [
            ("http://gateway/a", &["other"] as &[&str]),
            ("http://gateway/a", &["gateway:8080"]),
            ("http://gateway:81/a", &["gateway"]),
            ("http://gateway:80/a", &["gateway:443"]),
            ("https://gateway/a", &["gateway:80"]),
            ("http://gateway/a", &[""]),
            ("http://user@gateway/a", &["gateway"]),
            ("http://gateway/a", &["user@gateway"]),
            ("http://[::1]/a", &["127.0.0.1"]),
            ("http://127.0.0.1/a", &["localhost"]),
            ("ftp://gateway/a", &["gateway"]),
            ("/a", &["gateway", "gateway"]),
            ("/a", &["a@gateway"]),
            ("/a", &["gateway:"]),
            ("/a", &["gateway:+80"]),
            ("/a", &["gateway:65536"]),
            ("/a", &["gateway:0"]),
            ("/a", &["gateway:80:80"]),
            ("/a", &["gateway..internal"]),
            ("/a", &["."]),
            ("/a", &["gateway other"]),
            ("/a", &["gateway,other"]),
            ("/a", &["gateway/a"]),
            ("/a", &["gate%77ay"]),
            ("/a", &["::1"]),
            ("/a", &["[::1"]),
            ("/a", &["[::1%25lo]"]),
            ("/a", &["[127.0.0.1]"]),
        ] {
            for version in [Version::HTTP_11, Version::HTTP_2] {
                let (destination, request) = taken(version, target, hosts);
                assert!(destination.verdict().is_err(), "{target} {hosts:?}");
                assert!(destination.authority().is_none(), "{target} {hosts:?}");
                assert!(!destination.as_signed(request.headers()).contains_key(HOST), "{target} {hosts:?}");
            }
        }
        assert!(taken(Version::HTTP_11, "/", &[]).0.verdict().is_err());
        assert!(taken(Version::HTTP_11, "http://a/", &[]).0.verdict().is_err());
        assert!(taken(Version::HTTP_2, "/", &[]).0.verdict().is_err());
    }

    #[test]
    fn s52_a_target_without_a_path_is_the_root_to_every_reader() {
        for (target, path) in [
            ("http://gateway", "/"),
            ("http://gateway:80", "/"),
            ("http://gateway/", "/"),
            ("http://gateway?a=1", "/?a=1"),
            ("http://gateway/?a=1", "/?a=1"),
            ("/?a=1", "/?a=1"),
            ("/", "/"),
            ("*", "*"),
        ] {
            for version in [Version::HTTP_11, Version::HTTP_2] {
                let (destination, request) = taken(version, target, &["gateway"]);
                assert_eq!(destination.verdict(), Ok(()), "{target}");
                let uri = request.uri();
                assert_eq!(uri.path(), path.split('?').next().unwrap(), "{target}");
                assert_eq!(uri.path_and_query().unwrap().as_str(), path, "{target}");
                assert_eq!(uri.to_string(), path, "{target}");
            }
        }
    }

    #[test]
    fn s52_a_path_that_is_divided_in_two_ways_is_noticed() {
        let ambiguous = |path| taken(Version::HTTP_11, path, &["a"]).0.is_path_ambiguous();
        for path in ["/a%2Fb", "/a%2fb", "/a%5cb", "/%25%2f", "http://a/b%2F"] {
            assert!(ambiguous(path), "{path}");
        }
        for path in ["/a%20b", "/a/../b", "/a%252Fb", "/?q=a%2Fb", "/%", "/%2", "http://a?b=%2F"] {
            assert!(!ambiguous(path), "{path}");
        }
    }

    #[test]
    fn s52_a_port_of_another_listener_is_noticed() {
        let elsewhere = |host| taken(Version::HTTP_11, "/", &[host]).0.is_elsewhere();
        assert!(elsewhere("gateway:9001") && elsewhere("10.0.0.1:9001"));
        assert!(!elsewhere("gateway:8080") && !elsewhere("gateway") && !elsewhere("gateway:443"));
    }

    /// No other source of the gateway reads an authority, so that none can read another one.
    #[test]
    fn s52_no_other_source_reads_an_authority() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut folders = vec![root.clone()];
        let mut read = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let shown = path.strip_prefix(&root).unwrap().display().to_string();
                // It compares the readers, and nothing that is served uses it.
                let is_other = shown == "readers.rs";
                if shown == "web/destination.rs" || is_other || !shown.ends_with(".rs") {
                    continue;
                }
                read += 1;
                let text = std::fs::read_to_string(&path).unwrap();
                let served = text.split("#[cfg(test)]").next().unwrap_or_default();
                // The guard of a connection counts lines of that name, and reads none.
                let served = served.replace("name.eq_ignore_ascii_case(b\"host\")", "");
                for word in [
                    "HOST",
                    "\"host\"",
                    "uri::Authority",
                    ".authority_part",
                    "uri().host",
                    "uri.host",
                    "uri().authority",
                    "uri.authority",
                    "uri().port",
                    "uri.port",
                ] {
                    assert!(
                        !served.contains(word),
                        "{shown} reads {word}: take the destination's word for it"
                    );
                }
            }
        }
        assert!(read > 40, "{read} sources were read");
    }
}

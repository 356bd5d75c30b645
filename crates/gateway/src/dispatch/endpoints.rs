//! Compatibility endpoints: they serve a source API to programs that know no other. The places and formats of a source
//! API are in `restore_generations::source_api`. This module has the place of an endpoint: a listener of its own, a
//! host name or a prefix, never the path alone, because two source APIs share paths. `compat` answers the requests.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, Method, Uri};
use restore_generations::SourceApi;
use restore_generations::source_api::{self, Act, Form, Place, Refusal};
use restore_model::{Code, Id, Origin, Problem, ProjectId, RestoreRequest};

use super::notice;
use crate::web::answer::{self, Answer, Failure};
use crate::web::destination::Destination;
use restore_config::{Config, Listener};

/// Where a compatibility endpoint stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stand {
    /// On a listener of its own.
    Listener,
    /// On the listener of the API, under this Host name, in lower case.
    Host(String),
    /// On the listener of the API, in front of the source API's own paths; without a slash at its end.
    Prefix(String),
}

/// A compatibility endpoint that is open.
pub(crate) struct OpenEndpoint {
    pub(crate) endpoint: &'static dyn SourceApi,
    pub(crate) stand: Stand,
    /// The upstream of its generation for proxied reads.
    pub(crate) upstream: Option<String>,
    /// How links to it begin: its listener speaks TLS, or does not.
    pub(crate) scheme: &'static str,
    /// Headers of every response.
    pub(crate) notice: HeaderMap,
    places: matchit::Router<Vec<&'static Place>>,
}

impl fmt::Debug for OpenEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenDoor")
            .field("source_api", &self.endpoint.source_api())
            .field("stand", &self.stand)
            .finish()
    }
}

impl OpenEndpoint {
    pub(crate) fn new(
        endpoint: &'static dyn SourceApi,
        stand: Stand,
        upstream: Option<String>,
        scheme: &'static str,
        notice: HeaderMap,
    ) -> Self {
        let mut places = matchit::Router::new();
        let all = endpoint.places();
        for (index, place) in all.iter().enumerate() {
            if all[..index].iter().any(|earlier| earlier.template == place.template) {
                continue;
            }
            let here = all.iter().filter(|other| other.template == place.template).collect();
            // Two templates that clash are a fault of the source API's table, which every test run builds.
            if let Err(error) = places.insert(place.template, here) {
                panic!("{}: {}: {error}", endpoint.source_api(), place.template);
            }
        }
        Self { endpoint, stand, upstream, scheme, notice, places }
    }

    /// The source API's own path of a path at this compatibility endpoint.
    fn own_path<'a>(&self, path: &'a str) -> Option<&'a str> {
        let Stand::Prefix(prefix) = &self.stand else { return Some(path) };
        match path.strip_prefix(prefix.as_str())? {
            "" => Some("/"),
            rest => rest.starts_with('/').then_some(rest),
        }
    }

    fn find(self: &Arc<Self>, method: &Method, path: &str) -> AtEndpoint {
        let asked = if method == Method::HEAD { "GET" } else { method.as_str() };
        let mut at = AtEndpoint {
            endpoint: Arc::clone(self),
            place: None,
            wrong_method: false,
            project: None,
            id: None,
            path: path.to_owned(),
        };
        let Ok(found) = self.places.at(path) else {
            // A proxied path must contain its project in the place of the generation.
            at.project = self.endpoint.project_in(path).map(str::to_owned);
            return at;
        };
        at.place = found.value.iter().find(|place| place.method == asked).copied();
        at.wrong_method = at.place.is_none();
        at.project = found.params.get("project_id").map(str::to_owned);
        at.id = found.params.get("id").map(str::to_owned);
        at
    }
}

/// A request at a compatibility endpoint.
#[derive(Clone, Debug)]
pub(crate) struct AtEndpoint {
    pub(crate) endpoint: Arc<OpenEndpoint>,
    /// The place in the source API; `None` for another path.
    pub(crate) place: Option<&'static Place>,
    wrong_method: bool,
    project: Option<String>,
    id: Option<String>,
    /// The source API's own path.
    pub(crate) path: String,
}

impl AtEndpoint {
    /// The requested action; a read of another path is proxied.
    pub(crate) fn act(&self) -> Option<Act> {
        self.place.map(|place| place.act)
    }

    pub(crate) fn form(&self) -> Form {
        self.place.map_or(Form::Own, |place| place.form)
    }

    /// The path with its placeholders; empty where the source API has no such place.
    pub(crate) fn template(&self) -> &'static str {
        self.place.map_or("", |place| place.template)
    }

    /// True if it begins a restore.
    pub(crate) fn restores(&self) -> bool {
        self.act() == Some(Act::Restore)
    }

    /// True if it may change something; what a compatibility endpoint passes on only reads.
    pub(crate) fn changes(&self) -> bool {
        match self.act() {
            Some(Act::Restore) => true,
            Some(
                Act::Versions
                | Act::Ask
                | Act::Restored
                | Act::RestoredList
                | Act::Backup
                | Act::BackupList
                | Act::Disk
                | Act::DiskList
                | Act::PassOn,
            )
            | None => false,
        }
    }

    /// True if it says nothing of anybody's backups.
    pub(crate) fn is_public(&self) -> bool {
        self.act() == Some(Act::Versions)
    }

    pub(crate) const fn is_wrong_method(&self) -> bool {
        self.wrong_method
    }

    /// True if the path could be one of the source API's: those name their project.
    pub(crate) fn names_project(&self) -> bool {
        self.place.is_some()
            || self.project.as_deref().is_some_and(|project| project.parse::<ProjectId>().is_ok())
    }

    /// Project and ID in the path.
    pub(crate) fn named(&self) -> Result<source_api::Named, Problem> {
        let project = self.project.as_deref().unwrap_or_default();
        let project: ProjectId = project.parse().map_err(|error| {
            Problem::new(Code::InvalidParameter, format!("the project in the path: {error}"))
        })?;
        let id: Option<Id> = match self.id.as_deref() {
            None => None,
            Some(id) => Some(id.parse().map_err(|error| {
                Problem::new(Code::InvalidParameter, format!("the id in the path: {error}"))
            })?),
        };
        Ok(source_api::Named { project, id })
    }
}

/// The compatibility endpoints of one listener.
#[derive(Clone, Debug, Default)]
pub(crate) struct Endpoints {
    /// The only one, on a listener that is a compatibility endpoint's own.
    own: Option<Arc<OpenEndpoint>>,
    others: Vec<Arc<OpenEndpoint>>,
}

impl Endpoints {
    /// A listener that belongs to one compatibility endpoint.
    pub(crate) fn only(endpoint: Arc<OpenEndpoint>) -> Self {
        Self { own: Some(endpoint), others: Vec::new() }
    }

    /// The names that compatibility endpoints are called by, in lower case.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = String> + '_ {
        self.others.iter().filter_map(|endpoint| match &endpoint.stand {
            Stand::Host(name) => Some(name.clone()),
            Stand::Listener | Stand::Prefix(_) => None,
        })
    }

    /// The compatibility endpoint of a request; none where it is for the API.
    pub(crate) fn find(&self, method: &Method, path: &str, destination: &Destination) -> Option<AtEndpoint> {
        if let Some(own) = &self.own {
            return Some(own.find(method, path));
        }
        // A host name identifies a compatibility endpoint for every path; a prefix may also be a path of that endpoint.
        let is_host = |endpoint: &&Arc<OpenEndpoint>| matches!(endpoint.stand, Stand::Host(_));
        let hosts = self.others.iter().filter(is_host);
        hosts.chain(self.others.iter().filter(|endpoint| !is_host(endpoint))).find_map(|endpoint| {
            if let Stand::Host(name) = &endpoint.stand
                && !destination.host().is_some_and(|host| host.is(name))
            {
                return None;
            }
            Some(endpoint.find(method, endpoint.own_path(path)?))
        })
    }
}

/// The answer that a failure becomes at a compatibility endpoint.
pub(crate) fn native_failure(failure: Failure, at: &AtEndpoint, request_id: Option<&str>) -> Answer {
    let refusal =
        Refusal { problem: &failure.problem, restores: at.restores(), sent: failure.sent, request_id };
    answer::finish(answer::native(at.endpoint.endpoint.refuse(&refusal)), failure)
}

/// The compatibility endpoints of the configuration.
pub(crate) struct Opened {
    /// Those on the listener of the API.
    pub(crate) beside_the_api: Endpoints,
    /// Those with a listener of their own, and where that is.
    pub(crate) apart: Vec<(Arc<OpenEndpoint>, SocketAddr)>,
}

/// Opens the compatibility endpoints that the configuration asks for.
pub(crate) fn open(config: &Config) -> Result<Opened, String> {
    let mut opened = Opened { beside_the_api: Endpoints::default(), apart: Vec::new() };
    // Compatibility endpoints with a listener of their own speak as that of the API does.
    let tls = config.tls.certificate_file.is_some() && config.tls.listeners.contains(&Listener::Api);
    let scheme = if tls { "https" } else { "http" };
    for written in &config.compat_endpoints {
        let endpoint = source_api::by_name(&written.api)
            .ok_or_else(|| format!("there is no source API {}", written.api))?;
        let upstream = written.upstream.clone().or_else(|| the_only_one(config, endpoint.generation()));
        let notice = notice::headers(endpoint, written);
        let open =
            |stand| Arc::new(OpenEndpoint::new(endpoint, stand, upstream.clone(), scheme, notice.clone()));
        match (&written.prefix, &written.host, written.listen) {
            (Some(prefix), ..) => {
                opened.beside_the_api.others.push(open(Stand::Prefix(prefix.clone())));
            }
            (None, Some(host), _) => {
                opened.beside_the_api.others.push(open(Stand::Host(host.to_ascii_lowercase())));
            }
            (None, None, Some(address)) => opened.apart.push((open(Stand::Listener), address)),
            (None, None, None) => {
                return Err(format!("the compatibility endpoint {} stands nowhere", written.api));
            }
        }
    }
    Ok(opened)
}

/// Where a restore of this source API comes from: its compatibility endpoint, or else the upstream that its compatibility endpoint would ask.
pub fn origin(config: &Config, endpoint: &'static dyn SourceApi) -> Origin {
    let written = config.compat_endpoints.iter().find(|written| written.api == endpoint.source_api());
    let upstream = written.and_then(|written| written.upstream.clone());
    Origin {
        source_api: endpoint.source_api().to_owned(),
        generation: endpoint.generation().to_owned(),
        upstream: upstream.or_else(|| the_only_one(config, endpoint.generation())),
        closed: false,
        echo: serde_json::Value::Null,
    }
}

/// Reads a native restore request, with or without an open compatibility endpoint.
pub fn read(
    endpoint: &'static dyn SourceApi,
    path: &Uri,
    body: serde_json::Value,
) -> Result<RestoreRequest, Problem> {
    let open = OpenEndpoint::new(endpoint, Stand::Listener, None, "http", HeaderMap::new());
    let at = Arc::new(open).find(&Method::POST, path.path());
    if !at.restores() {
        let detail = format!("a POST of {} to this path is no restore", endpoint.source_api());
        return Err(Problem::new(Code::InvalidParameter, detail));
    }
    Ok(endpoint.restore(at.form(), &at.named()?, body)?.request)
}

/// The upstream of a generation, where there is no doubt which.
fn the_only_one(config: &Config, generation: &str) -> Option<String> {
    let mut own = config.upstreams.iter().filter(|upstream| upstream.generation == generation);
    let first = own.next()?;
    own.next().is_none().then(|| first.name.clone())
}

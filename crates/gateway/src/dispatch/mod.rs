//! The table of routes: the only place that knows the paths of the API. A test compares it with `openapi.json`. Metrics
//! and spans use its templates, never the path of a request. [`crate::dispatch::endpoints`] finds compatibility
//! endpoints.

pub mod endpoints;
mod notice;
pub(crate) mod usage;

use std::sync::Arc;

use http::Method;

use crate::dispatch::endpoints::{AtEndpoint, Endpoints};
use crate::web::destination::Destination;

/// The action of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Submit,
    List,
    Show,
    Events,
    /// The events of one restore as a stream.
    Follow,
    /// The events of all restores as a stream.
    Stream,
    Cancel,
    Check,
    Preview,
    NativePreview,
    Capabilities,
    OpenApi,
    Docs,
    DocsFile,
    Schema,
    ProblemPage,
}

/// Every route: method, path, what it does.
const ROUTES: &[(&str, &str, Action)] = &[
    ("POST", "/api/v1/restores", Action::Submit),
    ("GET", "/api/v1/restores", Action::List),
    ("GET", "/api/v1/restores/{id}", Action::Show),
    ("DELETE", "/api/v1/restores/{id}", Action::Cancel),
    ("GET", "/api/v1/restores/{id}/events", Action::Events),
    ("GET", "/api/v1/restores/{id}/stream", Action::Follow),
    ("GET", "/api/v1/stream", Action::Stream),
    ("POST", "/api/v1/restore-checks", Action::Check),
    ("POST", "/api/v1/restore-previews", Action::Preview),
    ("POST", "/api/v1/compat-previews", Action::NativePreview),
    ("GET", "/api/v1/capabilities", Action::Capabilities),
    ("GET", "/openapi.json", Action::OpenApi),
    ("GET", "/docs", Action::Docs),
    ("GET", "/docs/{file}", Action::DocsFile),
    ("GET", "/schemas/{name}", Action::Schema),
    ("GET", "/problems/{code}", Action::ProblemPage),
];

/// Result of the route lookup.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// A route, and what stands in its placeholder.
    Route { template: &'static str, action: Action, parameter: Option<String> },
    /// A path whose routes take other methods.
    OtherMethod { template: &'static str, allow: &'static str },
    /// A compatibility endpoint.
    SourceApi(AtEndpoint),
    /// No such path.
    Nothing,
}

impl Found {
    /// True if it is a document that says nothing of anybody's restores.
    pub(crate) fn is_public(&self) -> bool {
        match self {
            Self::Route { action, .. } => {
                matches!(
                    action,
                    Action::OpenApi | Action::Docs | Action::DocsFile | Action::Schema | Action::ProblemPage
                )
            }
            Self::SourceApi(at) => at.is_public(),
            Self::OtherMethod { .. } | Self::Nothing => false,
        }
    }

    /// True if it takes a restore in.
    pub(crate) fn submits(&self) -> bool {
        match self {
            Self::Route { action, .. } => *action == Action::Submit,
            Self::SourceApi(at) => at.restores(),
            Self::OtherMethod { .. } | Self::Nothing => false,
        }
    }

    /// True if it may change something: a restore, or what becomes of one.
    pub(crate) fn changes(&self) -> bool {
        match self {
            Self::Route { action, .. } => match action {
                Action::Submit | Action::Cancel => true,
                Action::List
                | Action::Show
                | Action::Events
                | Action::Follow
                | Action::Stream
                | Action::Check
                | Action::Preview
                | Action::NativePreview
                | Action::Capabilities
                | Action::OpenApi
                | Action::Docs
                | Action::DocsFile
                | Action::Schema
                | Action::ProblemPage => false,
            },
            Self::SourceApi(at) => at.changes(),
            Self::OtherMethod { .. } | Self::Nothing => false,
        }
    }

    /// The path with its placeholder; empty where there is no such path.
    pub(crate) fn template(&self) -> &'static str {
        match self {
            Self::Route { template, .. } | Self::OtherMethod { template, .. } => template,
            Self::SourceApi(at) => at.template(),
            Self::Nothing => "",
        }
    }

    /// The compatibility endpoint it is at.
    pub(crate) fn at_endpoint(&self) -> Option<&AtEndpoint> {
        match self {
            Self::SourceApi(at) => Some(at),
            Self::Route { .. } | Self::OtherMethod { .. } | Self::Nothing => None,
        }
    }
}

/// Finds routes. Built once, shared.
#[derive(Clone)]
pub(crate) struct Router {
    paths: Arc<matchit::Router<Path>>,
    endpoints: Endpoints,
}

struct Path {
    template: &'static str,
    methods: Vec<(&'static str, usize)>,
    allow: &'static str,
}

impl Router {
    /// The table as a router, with the compatibility endpoints of its listener.
    pub(crate) fn new(endpoints: Endpoints) -> Self {
        let mut router = matchit::Router::new();
        for (index, (_, template, _)) in ROUTES.iter().enumerate() {
            if ROUTES[..index].iter().any(|(_, earlier, _)| earlier == template) {
                continue;
            }
            let methods: Vec<_> =
                (0..).zip(ROUTES).filter(|(_, route)| route.1 == *template).map(|(i, r)| (r.0, i)).collect();
            let allow = match methods.iter().map(|(method, _)| *method).collect::<Vec<_>>().as_slice() {
                ["GET"] => "GET, HEAD",
                ["POST"] => "POST",
                ["POST", "GET"] => "POST, GET, HEAD",
                _ => "GET, HEAD, DELETE",
            };
            // Two templates that clash are a fault of the table, which every test run builds.
            if let Err(error) = router.insert(*template, Path { template, methods, allow }) {
                panic!("route {template}: {error}");
            }
        }
        Self { paths: Arc::new(router), endpoints }
    }

    /// Finds the route of a request.
    pub(crate) fn find(&self, method: &Method, path: &str, destination: &Destination) -> Found {
        match self.endpoints.find(method, path, destination) {
            Some(at) => Found::SourceApi(at),
            None => self.find_path(method, path),
        }
    }

    /// Finds the route of a method and a path.
    fn find_path(&self, method: &Method, path: &str) -> Found {
        let Ok(found) = self.paths.at(path) else { return Found::Nothing };
        let asked = if method == Method::HEAD { "GET" } else { method.as_str() };
        let Path { template, methods, allow } = found.value;
        match methods.iter().find(|(method, _)| *method == asked) {
            None => Found::OtherMethod { template, allow },
            Some((_, action)) => Found::Route {
                template,
                action: ROUTES[*action].2,
                parameter: found.params.iter().next().map(|(_, value)| value.to_owned()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::openapi;

    #[test]
    fn the_contract_lists_exactly_the_routes() {
        let contract: serde_json::Value = serde_json::from_str(openapi()).unwrap();
        let mut described: Vec<(String, String)> = Vec::new();
        for (path, item) in contract["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
                described.push((method.to_uppercase(), path.clone()));
            }
        }
        let mut served: Vec<_> = ROUTES.iter().map(|(m, p, _)| ((*m).to_owned(), (*p).to_owned())).collect();
        described.sort();
        served.sort();
        assert_eq!(described, served);
    }

    #[test]
    fn methods_and_paths_are_distinguished() {
        let router = Router::new(Endpoints::default());
        let find = |method: Method, path| router.find_path(&method, path);
        assert!(matches!(find(Method::GET, "/api/v1/restores"), Found::Route { .. }));
        assert!(matches!(find(Method::HEAD, "/api/v1/restores/x"), Found::Route { .. }));
        assert!(matches!(
            find(Method::PUT, "/api/v1/restores/x"),
            Found::OtherMethod { allow: "GET, HEAD, DELETE", .. }
        ));
        assert!(matches!(find(Method::GET, "/api/v1/restores/"), Found::Nothing));
        assert_eq!(find(Method::GET, "/api/v1/restores/0199").template(), "/api/v1/restores/{id}");
    }
}

//! The canonical API: the table of routes and the handlers behind it. The table is the one place
//! that knows paths; a test holds it against `openapi.json`, and metrics and spans use its
//! templates.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use restore_engine::Engine;
use restore_model::{Code, Problem, RestoreId, RestoreRequest, json, schema};
use restore_upstream::{Token, TraceContext};
use tower::Service;

use crate::answer::{Answer, Failure};
use crate::layers::Future;
use crate::layers::caller::Caller;
use crate::layers::shed::Place;

mod documents;
pub(crate) mod inquiries;
mod preferences;
mod restores;

pub(crate) use documents::OPENAPI;

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Submit,
    List,
    Show,
    Events,
    Cancel,
    Check,
    Preview,
    Capabilities,
    OpenApi,
    Docs,
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
    ("POST", "/api/v1/restore-checks", Action::Check),
    ("POST", "/api/v1/restore-previews", Action::Preview),
    ("GET", "/api/v1/capabilities", Action::Capabilities),
    ("GET", "/openapi.json", Action::OpenApi),
    ("GET", "/docs", Action::Docs),
    ("GET", "/schemas/{name}", Action::Schema),
    ("GET", "/problems/{code}", Action::ProblemPage),
];

/// What the table says of a request.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// A route, and what stands in its placeholder.
    Route { template: &'static str, action: usize, parameter: Option<String> },
    /// A path whose routes take other methods.
    OtherMethod { template: &'static str, allow: &'static str },
    /// No such path.
    Nothing,
}

impl Found {
    /// The path with its placeholder; empty where there is no such path.
    pub(crate) fn template(&self) -> &'static str {
        match self {
            Self::Route { template, .. } | Self::OtherMethod { template, .. } => template,
            Self::Nothing => "",
        }
    }
}

/// Finds routes. Built once, shared.
#[derive(Clone)]
pub(crate) struct Router(Arc<matchit::Router<Path>>);

struct Path {
    template: &'static str,
    methods: Vec<(&'static str, usize)>,
    allow: &'static str,
}

impl Router {
    /// The table as a router.
    pub(crate) fn new() -> Self {
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
        Self(Arc::new(router))
    }

    /// What the table says of a method and a path.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Found {
        let Ok(found) = self.0.at(path) else { return Found::Nothing };
        let asked = if method == Method::HEAD { "GET" } else { method.as_str() };
        let Path { template, methods, allow } = found.value;
        match methods.iter().find(|(method, _)| *method == asked) {
            None => Found::OtherMethod { template, allow },
            Some((_, action)) => Found::Route {
                template,
                action: *action,
                parameter: found.params.iter().next().map(|(_, value)| value.to_owned()),
            },
        }
    }
}

/// What the handlers need.
#[derive(Clone)]
pub(crate) struct App {
    /// The verbs.
    pub(crate) engine: Engine,
    /// Longest wait that a caller may ask for.
    pub(crate) wait_cap: Duration,
    /// Largest page of a list.
    pub(crate) page_size: usize,
}

/// The end of the way in.
#[derive(Clone)]
pub(crate) struct Dispatch(pub(crate) Arc<App>);

/// A request at its handler.
pub(crate) struct Asked {
    headers: HeaderMap,
    query: Option<String>,
    body: Bytes,
    parameter: Option<String>,
    token: Option<Token>,
    trace: Option<TraceContext>,
    place: Option<Place>,
}

impl Service<Request<Bytes>> for Dispatch {
    type Response = Answer;
    type Error = Failure;
    type Future = Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Future {
        let app = Arc::clone(&self.0);
        Box::pin(async move {
            let (mut head, body) = request.into_parts();
            let (action, parameter) = match head.extensions.remove::<Found>() {
                Some(Found::Route { action, parameter, .. }) => (ROUTES[action].2, parameter),
                Some(Found::OtherMethod { allow, .. }) => {
                    let problem = Problem::new(Code::MethodNotAllowed, format!("this path takes {allow}"));
                    let mut failure = Failure::from(problem);
                    failure.allow = Some(allow);
                    return Err(failure);
                }
                Some(Found::Nothing) | None => {
                    return Err(Problem::new(Code::NotFound, "no such path").into());
                }
            };
            let asked = Asked {
                query: head.uri.query().map(str::to_owned),
                headers: head.headers,
                body,
                parameter,
                token: head.extensions.remove::<Caller>().and_then(|caller| caller.token),
                trace: head.extensions.remove::<TraceContext>(),
                place: head.extensions.remove::<Place>(),
            };
            match action {
                Action::Submit => restores::submit(&app, asked).await,
                Action::List => restores::list(&app, &asked).await,
                Action::Show => Box::pin(restores::show(&app, asked)).await,
                Action::Events => restores::events(&app, &asked).await,
                Action::Cancel => restores::cancel(&app, &asked).await,
                Action::Check => Box::pin(inquiries::check(&app, asked)).await,
                Action::Preview => inquiries::preview(&app, &asked).await,
                Action::Capabilities => Ok(inquiries::capabilities(&app)),
                Action::OpenApi => Ok(documents::openapi()),
                Action::Docs => Ok(documents::docs()),
                Action::Schema => documents::schema(asked.parameter.as_deref()),
                Action::ProblemPage => documents::problem(asked.parameter.as_deref()),
            }
        })
    }
}

impl Asked {
    /// The canonical request in the body.
    fn restore_request(&self) -> Result<RestoreRequest, Problem> {
        let value = json::read(&self.body)
            .map_err(|fault| Problem::new(Code::InvalidJson, format!("{fault}; nothing was sent")))?;
        schema::parse_restore(value)
    }

    /// The restore that the path names.
    fn restore_id(&self) -> Result<RestoreId, Problem> {
        let id = self.parameter.as_deref().unwrap_or_default().parse();
        id.map_err(|_| {
            Problem::new(Code::RestoreNotFound, "the path parameter id is not the id of a restore")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_lists_exactly_the_routes() {
        let contract: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
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
    fn methods_and_paths_are_told_apart() {
        let router = Router::new();
        let find = |method: Method, path| router.find(&method, path);
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

//! The canonical API: the handlers behind the table of routes, one module per kind of call.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Extensions, HeaderMap, Method, Request};
use restore_engine::{Caller, Engine};
use restore_model::{Code, Origin, Problem, RestoreId, RestoreRequest, json, schema};
use restore_upstream::TraceContext;
use tower::Service;

use crate::answer::{Answer, Failure};
use crate::callers::{Signature, SignedUntil};
use crate::doors::AtDoor;
use crate::doors::serve::{self, Call};
use crate::doors::usage::Usage;
use crate::layers::Future;
use crate::layers::shed::Place;
use crate::routes::{Action, Found};

mod documents;
pub(crate) mod inquiries;
pub(crate) mod preferences;
pub(crate) mod restores;
pub(crate) mod streams;

pub use documents::OPENAPI;

/// What the handlers need.
#[derive(Clone)]
pub(crate) struct App {
    /// The verbs.
    pub(crate) engine: Engine,
    /// Longest wait that a caller may ask for.
    pub(crate) wait_cap: Duration,
    /// How deeply JSON may nest.
    pub(crate) json_depth: usize,
    /// Largest page of a list.
    pub(crate) page_size: usize,
    /// Where a restore of each dialect comes from.
    pub(crate) origins: Vec<Origin>,
    /// Who asks at native doors.
    pub(crate) usage: Usage,
    /// The streams of events that are open.
    pub(crate) streams: streams::Streams,
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
    caller: Caller,
    /// The signature of a signed request that changes something.
    signature: Option<Signature>,
    /// The end of the signature of a signed request.
    signed_until: Option<SignedUntil>,
    trace: Option<TraceContext>,
    place: Option<Place>,
}

/// What is left of a request once it was read: all that may be held while its caller waits.
struct Waiter {
    caller: Caller,
    signature: Option<Signature>,
    trace: Option<TraceContext>,
    place: Option<Place>,
}

impl Waiter {
    /// Whether this caller may wait: it has given its place back for one among those who do.
    fn waits(&self) -> bool {
        self.place.as_ref().is_none_or(Place::waits)
    }
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
        match Ask::of(request) {
            Ok(Ask::Route { action, method, asked }) => {
                Box::pin(async move { perform(&app, action, &method, asked).await })
            }
            Ok(Ask::Door { at, call }) => {
                app.usage.count(&at, call.caller(), app.engine.clock().now());
                Box::pin(async move { Box::pin(serve::answer(&app, &at, call)).await })
            }
            Err(failure) => Box::pin(std::future::ready(Err(failure))),
        }
    }
}

/// What a request asks for. The request itself ends here: what is not in this is held no longer.
enum Ask {
    Route { action: Action, method: Method, asked: Asked },
    Door { at: AtDoor, call: Call },
}

impl Ask {
    fn of(request: Request<Bytes>) -> Result<Self, Failure> {
        let (mut head, body) = request.into_parts();
        let (action, parameter) = match head.extensions.remove::<Found>() {
            Some(Found::Route { action, parameter, .. }) => (action, parameter),
            Some(Found::Door(at)) => {
                let call = Call::new(asker(&mut head.extensions)?, head, body);
                return Ok(Self::Door { at, call });
            }
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
        let caller = asker(&mut head.extensions)?;
        let asked = Asked {
            query: head.uri.query().map(str::to_owned),
            headers: head.headers,
            body,
            parameter,
            signature: head.extensions.remove::<Signature>(),
            signed_until: head.extensions.remove::<SignedUntil>(),
            caller,
            trace: head.extensions.remove::<TraceContext>(),
            place: head.extensions.remove::<Place>(),
        };
        Ok(Self::Route { action, method: head.method, asked })
    }
}

/// Who asks, as the layers above have found out. Without one nothing is done: a layer is missing, and a handler that went on
/// would do for anyone what is for callers.
fn asker(extensions: &mut Extensions) -> Result<Caller, Failure> {
    extensions.remove::<Caller>().ok_or_else(|| {
        tracing::error!("a request came to its handler without a caller");
        Problem::new(Code::Internal, "it was not found out who asks; nothing was started").into()
    })
}

/// What is done for a request, whichever listener it came in at.
pub(crate) async fn perform(
    app: &App,
    action: Action,
    method: &Method,
    asked: Asked,
) -> Result<Answer, Failure> {
    let streams = *method == Method::GET && streams::wanted(&asked.headers);
    match action {
        Action::Submit => restores::submit(app, asked).await,
        Action::List if streams => streams::all(app, &asked).await,
        Action::Events if streams => Box::pin(streams::one(app, asked)).await,
        Action::List => restores::list(app, &asked).await,
        Action::Show => Box::pin(restores::show(app, asked)).await,
        Action::Events => restores::events(app, &asked).await,
        Action::Cancel => restores::cancel(app, &asked).await,
        Action::Check => Box::pin(inquiries::check(app, asked)).await,
        Action::Preview => inquiries::preview(app, &asked).await,
        Action::NativePreview => inquiries::native_preview(app, &asked).await,
        Action::Capabilities => Ok(inquiries::capabilities(app)),
        Action::OpenApi => Ok(documents::openapi()),
        Action::Docs => Ok(documents::docs()),
        Action::Schema => documents::schema(asked.parameter.as_deref()),
        Action::ProblemPage => documents::problem(asked.parameter.as_deref(), &asked.headers),
    }
}

impl Asked {
    /// A request without a body that came in elsewhere than the API, about the restore of this id where there is one.
    pub(crate) fn elsewhere<B>(request: &Request<B>, id: Option<&str>, caller: Caller, place: Place) -> Self {
        Self {
            headers: request.headers().clone(),
            query: request.uri().query().map(str::to_owned),
            body: Bytes::new(),
            parameter: id.map(str::to_owned),
            caller,
            signature: None,
            signed_until: None,
            trace: None,
            place: Some(place),
        }
    }

    /// Lets go of everything that was sent.
    fn read(self) -> Waiter {
        let Self { caller, signature, trace, place, .. } = self;
        Waiter { caller, signature, trace, place }
    }

    /// The canonical request in the body.
    fn restore_request(&self, app: &App) -> Result<RestoreRequest, Failure> {
        Ok(schema::parse_restore(self.json(app)?)?)
    }

    fn json(&self, app: &App) -> Result<serde_json::Value, Failure> {
        json::read_within(&self.body, app.json_depth).map_err(|fault| {
            let problem = Problem::new(Code::InvalidJson, format!("{fault}; nothing was sent"));
            let failure = Failure::from(problem);
            if fault.too_deep { failure.at_limit("json_depth") } else { failure }
        })
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
    use restore_config::{self as config, Environment, Source};
    use restore_generations::door;

    const SETTINGS: &str = "[[upstreams]]\nname = \"a\"\ngeneration = \"cbr-v3\"\nendpoint = \"http://127.0.0.1:9\"\n\
                            [[routes]]\nupstream = \"a\"\n[[doors]]\ndialect = \"cbr-v3\"\nprefix = \"/cbr\"\n";

    /// S48: the layer that finds out who asks was taken out by mistake.
    #[tokio::test]
    async fn s48_without_a_caller_every_handler_answers_500_and_does_nothing() {
        let source = Source::new("test", SETTINGS);
        let (settings, _) =
            config::load(&source, &Environment::default(), &restore_generations::names()).unwrap();
        let engine = crate::offline::engine(&settings).await.unwrap();
        let app = App {
            engine: engine.clone(),
            wait_cap: Duration::ZERO,
            json_depth: 32,
            page_size: 10,
            origins: Vec::new(),
            usage: Usage::new(engine.clock().now()),
            streams: streams::Streams::new(
                1,
                Duration::from_secs(1),
                tokio_util::sync::CancellationToken::new(),
            ),
        };
        let mut dispatch = Dispatch(Arc::new(app));
        let body = serde_json::json!({
            "project_id": "0a1b2c3d4e5f60718293a4b5c6d7e8f9", "source": {"backup_id": "b"},
            "target": {"type": "volume", "volume_id": "v"},
        });
        let actions = [
            Action::Submit,
            Action::List,
            Action::Show,
            Action::Events,
            Action::Cancel,
            Action::Check,
            Action::Preview,
            Action::NativePreview,
            Action::Capabilities,
        ];
        let mut founds: Vec<Found> = actions
            .into_iter()
            .map(|action| Found::Route {
                action,
                template: "",
                parameter: Some("01a22a24-1df3-7cc5-9a1c-000000000000".to_owned()),
            })
            .collect();
        let door = door::by_name("cbr-v3").unwrap();
        let path = "/v3/0a1b2c3d4e5f60718293a4b5c6d7e8f9/backups/b/restore".parse().unwrap();
        founds.push(Found::Door(crate::doors::at(door, &Method::POST, &path)));
        for found in founds {
            let mut request = Request::post("/").body(Bytes::from(body.to_string())).unwrap();
            request.headers_mut().insert("content-type", "application/json".parse().unwrap());
            request.headers_mut().insert("x-auth-token", "a token".parse().unwrap());
            request.extensions_mut().insert(found);
            let failure = dispatch.call(request).await.err().expect("it is refused");
            assert_eq!((failure.problem.code, failure.problem.status()), (Code::Internal, 500));
        }
        let listed = engine.list(restore_ledger::Query::default(), &Caller::anyone(None)).await.unwrap();
        assert!(listed.entries.is_empty(), "nothing was done");
    }
}

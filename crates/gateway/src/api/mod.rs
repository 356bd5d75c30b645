//! The canonical API: the handlers behind the table of routes, one module per kind of call.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use restore_engine::{Caller, Engine};
use restore_model::{Code, Origin, Problem, RestoreId, RestoreRequest, json, schema};
use restore_upstream::TraceContext;

use crate::auth::{Signature, SignedUntil};
use crate::dispatch::Action;
use crate::dispatch::usage::Usage;
use crate::middleware::shed::Place;
use crate::web::answer::{self, Answer, Failure};

mod documents;
pub(crate) mod inquiries;
pub(crate) mod preferences;
pub(crate) mod restores;
pub(crate) mod streams;

pub use documents::openapi_text as openapi;

/// State of the handlers.
#[derive(Clone)]
pub(crate) struct App {
    /// The verbs.
    pub(crate) engine: Engine,
    /// Longest wait that a caller may ask for.
    pub(crate) wait_cap: Duration,
    /// How deeply JSON may nest.
    pub(crate) max_json_depth: usize,
    /// Largest page of a list.
    pub(crate) max_page_size: usize,
    /// Where a restore of each source API comes from.
    pub(crate) origins: Vec<Origin>,
    /// Programs that use compatibility endpoints.
    pub(crate) usage: Usage,
    /// The streams of events that are open.
    pub(crate) streams: streams::Streams,
}

/// A request at its handler.
pub(crate) struct Asked {
    pub(crate) headers: HeaderMap,
    pub(crate) query: Option<String>,
    pub(crate) body: Bytes,
    pub(crate) parameter: Option<String>,
    pub(crate) caller: Caller,
    /// The signature of a signed request that changes something.
    pub(crate) signature: Option<Signature>,
    /// The end of the signature of a signed request.
    pub(crate) signed_until: Option<SignedUntil>,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) place: Place,
}

/// The rest of a request after it was read: only this is held while its caller waits.
struct Waiter {
    caller: Caller,
    signature: Option<Signature>,
    trace: Option<TraceContext>,
    place: Place,
}

impl Waiter {
    /// True if this caller may wait: it has given its place back for one among those who do.
    fn waits(&self) -> bool {
        self.place.waits()
    }
}

/// Performs the action of a request, for any listener.
pub(crate) async fn perform(
    app: &App,
    action: Action,
    method: &Method,
    asked: Asked,
) -> Result<Answer, Failure> {
    let streams = *method == Method::GET && answer::wants_events(&asked.headers);
    match action {
        Action::Submit => restores::submit(app, asked).await,
        // The head of a stream opens none.
        Action::Stream | Action::Follow if *method == Method::HEAD => Ok(streams::head()),
        Action::Stream => streams::all(app, &asked).await,
        Action::List if streams => streams::all(app, &asked).await,
        Action::Follow => Box::pin(streams::one(app, asked)).await,
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
        Action::DocsFile => documents::docs_file(asked.parameter.as_deref()),
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
            place,
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
        json::read_within(&self.body, app.max_json_depth).map_err(|fault| {
            let problem = Problem::new(Code::InvalidJson, format!("{fault}; nothing was sent"));
            let failure = Failure::from(problem);
            if fault.too_deep { failure.at_limit("max_json_depth") } else { failure }
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

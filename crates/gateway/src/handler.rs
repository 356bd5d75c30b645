//! The end of the inbound stack: a request that has its route and its caller is handed to the API or to a compatibility
//! endpoint.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Extensions, Method, Request};
use restore_engine::Caller;
use restore_model::{Code, Problem};
use restore_upstream::TraceContext;
use tower::Service;

use crate::api::{self, App, Asked};
use crate::auth::{Signature, SignedUntil};
use crate::compat::{self, Call};
use crate::dispatch::endpoints::AtEndpoint;
use crate::dispatch::{Action, Found};
use crate::middleware::Future;
use crate::middleware::shed::Place;
use crate::web::answer::{Answer, Failure};

/// The handlers, as a service.
#[derive(Clone)]
pub(crate) struct Dispatch(pub(crate) Arc<App>);

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
                Box::pin(async move { api::perform(&app, action, &method, asked).await })
            }
            Ok(Ask::SourceApi { at, call }) => {
                app.usage.count(&at, call.caller(), app.engine.clock().now());
                Box::pin(async move { Box::pin(compat::answer(&app, &at, call)).await })
            }
            Err(failure) => Box::pin(std::future::ready(Err(failure))),
        }
    }
}

/// What a request asks for. The request itself ends here: what is not in this is held no longer.
enum Ask {
    Route { action: Action, method: Method, asked: Asked },
    SourceApi { at: AtEndpoint, call: Call },
}

impl Ask {
    fn of(request: Request<Bytes>) -> Result<Self, Failure> {
        let (mut head, body) = request.into_parts();
        let (action, parameter) = match head.extensions.remove::<Found>() {
            Some(Found::Route { action, parameter, .. }) => (action, parameter),
            Some(Found::SourceApi(at)) => {
                let call = Call::new(asker(&mut head.extensions)?, head, body);
                return Ok(Self::SourceApi { at, call });
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
        tracing::error!("request reached its handler without a caller");
        Problem::new(Code::Internal, "the request has no authenticated caller; nothing was started").into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use restore_config::{self as config, Environment, Source};
    use restore_generations::source_api;

    const SETTINGS: &str = "[[upstreams]]\nname = \"a\"\ngeneration = \"cbr-v3\"\nendpoint = \"http://127.0.0.1:9\"\n\
                            [[routes]]\nupstream = \"a\"\n[[compat_endpoints]]\napi = \"cbr-v3\"\nprefix = \"/cbr\"\n";

    /// S48: the layer that finds out who asks was taken out by mistake.
    #[tokio::test]
    async fn s48_without_a_caller_every_handler_answers_500_and_does_nothing() {
        let source = Source::new("test", SETTINGS);
        let (config, _) =
            config::load(&source, &Environment::default(), &restore_generations::names()).unwrap();
        let engine = crate::offline::engine(&config).await.unwrap();
        let app = App {
            engine: engine.clone(),
            wait_cap: Duration::ZERO,
            max_json_depth: 32,
            max_page_size: 10,
            origins: Vec::new(),
            usage: crate::dispatch::usage::Usage::new(engine.clock().now()),
            streams: crate::api::streams::Streams::new(
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
        let endpoint = source_api::by_name("cbr-v3").unwrap();
        let path = "/v3/0a1b2c3d4e5f60718293a4b5c6d7e8f9/backups/b/restore".parse().unwrap();
        founds.push(Found::SourceApi(crate::dispatch::endpoints::at(endpoint, &Method::POST, &path)));
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

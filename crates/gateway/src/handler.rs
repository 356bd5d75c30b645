//! The end of the inbound stack: an authenticated request goes to the API or to a compatibility endpoint.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Method, Request};
use restore_model::{Code, Problem};
use tower::Service;

use crate::api::{self, App, Asked};
use crate::compat::{self, Call};
use crate::dispatch::endpoints::AtEndpoint;
use crate::dispatch::{Action, Found};
use crate::middleware::Future;
use crate::middleware::stages::{Authenticated, Stage};
use crate::web::answer::{Answer, Failure};

/// The handlers, as a service.
#[derive(Clone)]
pub(crate) struct Dispatch(pub(crate) Arc<App>);

impl Service<Request<Authenticated>> for Dispatch {
    type Response = Answer;
    type Error = Failure;
    type Future = Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Authenticated>) -> Future {
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

/// The requested action. The request itself ends here: nothing else of it is held any longer.
enum Ask {
    Route { action: Action, method: Method, asked: Asked },
    SourceApi { at: AtEndpoint, call: Call },
}

impl Ask {
    fn of(request: Request<Authenticated>) -> Result<Self, Failure> {
        let (head, stage) = request.into_parts();
        let Stage { arrival, found, trace, deferred: _, sender, body } = stage;
        let (caller, place, signature, signed_until) = sender.into_parts();
        match found {
            Found::Route { action, parameter, .. } => {
                let asked = Asked {
                    query: head.uri.query().map(str::to_owned),
                    headers: head.headers,
                    body,
                    parameter,
                    signature,
                    signed_until,
                    caller,
                    trace: Some(trace),
                    place,
                };
                Ok(Self::Route { action, method: head.method, asked })
            }
            Found::SourceApi(at) => {
                let call = Call::new(head, &arrival.destination, caller, signature, trace, body);
                Ok(Self::SourceApi { at, call })
            }
            Found::OtherMethod { allow, .. } => {
                let problem = Problem::new(Code::MethodNotAllowed, format!("this path takes {allow}"));
                let mut failure = Failure::from(problem);
                failure.allow = Some(allow);
                Err(failure)
            }
            Found::Nothing => Err(Problem::new(Code::NotFound, "no such path").into()),
        }
    }
}

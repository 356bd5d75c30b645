//! Deadline of one request, the wait that a caller asked for included. It frees what the request
//! holds here; a restore that was taken in goes on in its own task, which is why the answer sends
//! the caller to look rather than to ask again.

use std::time::Duration;

use http::Request;
use restore_model::{Code, Effect, Problem};

use super::stages::Traced;
use super::{Future, Inner, Middleware};
use crate::web::answer::Failure;

/// The layer.
#[derive(Clone, Copy)]
pub(crate) struct DeadlineLayer(pub(crate) Duration);

impl Middleware<Traced> for DeadlineLayer {
    type Passed = Traced;

    fn call<S: Inner<Traced>>(&self, inner: &mut S, request: Request<Traced>) -> Future {
        let limit = self.0;
        let submits = request.body().found.submits();
        let call = inner.call(request);
        Box::pin(async move {
            tokio::time::timeout(limit, call).await.unwrap_or_else(|_| {
                let detail = format!("no answer within {} s", limit.as_secs_f32());
                let effect = if submits { Effect::Possible } else { Effect::None };
                let problem = Problem::new(Code::DeadlineExceeded, detail).effect(effect).after(5);
                Err(Failure::from(problem).at_limit("request_timeout_seconds"))
            })
        })
    }
}

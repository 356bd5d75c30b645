//! Deadline of one request, including `Prefer: wait`. It frees the memory that the request holds. An accepted restore
//! continues in its own task, so the response advises to read the restore instead of sending it again.

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

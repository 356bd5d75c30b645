//! The end of the outbound stack: it passes a request to the hyper client and reads the response to its end, up to a
//! limit. An incomplete response is no response, whatever its head says.

use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tower::Service;

use crate::client::Client;
use crate::coding::{Unreadable, read_whole};
use crate::fault::{Fault, FaultKind};
use crate::stack::{UpstreamRequest, UpstreamResponse};

/// The service.
#[derive(Clone)]
pub(crate) struct Exchange {
    client: Client,
    max_body_bytes: usize,
}

impl Exchange {
    /// Reads answers of at most `max_body_bytes`.
    pub(crate) const fn new(client: Client, max_body_bytes: usize) -> Self {
        Self { client, max_body_bytes }
    }
}

impl Service<UpstreamRequest> for Exchange {
    type Response = UpstreamResponse;
    type Error = Fault;
    type Future = BoxFuture<'static, Result<UpstreamResponse, Fault>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: UpstreamRequest) -> Self::Future {
        let answer = self.client.request(request);
        let limit = self.max_body_bytes;
        Box::pin(async move {
            let answer = answer.await.map_err(|error| Fault::from_client(&error))?;
            read_whole(answer, limit).await.map_err(|(head, why)| {
                let kind = match why {
                    Unreadable::TooLarge(_) => FaultKind::TooLarge,
                    Unreadable::Broken(_) | Unreadable::Coding(..) => FaultKind::Broken,
                };
                Fault::unsure(kind, format!("the answer ({}) {why}", head.status.as_u16()))
            })
        })
    }
}

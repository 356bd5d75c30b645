//! The end of the way out: hands a request to the hyper client and reads the answer whole, up to a
//! bound. An answer that breaks off in the middle is no answer, whatever its head said.

use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tower::Service;

use crate::client::Client;
use crate::fault::{Fault, FaultKind};
use crate::stack::{Inbound, Outbound};

/// The service.
#[derive(Clone)]
pub(crate) struct Exchange {
    client: Client,
    body_bytes: usize,
}

impl Exchange {
    /// Reads answers of at most `body_bytes`.
    pub(crate) const fn new(client: Client, body_bytes: usize) -> Self {
        Self { client, body_bytes }
    }
}

impl Service<Outbound> for Exchange {
    type Response = Inbound;
    type Error = Fault;
    type Future = BoxFuture<'static, Result<Inbound, Fault>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Outbound) -> Self::Future {
        let answer = self.client.request(request);
        let limit = self.body_bytes;
        Box::pin(async move {
            let (head, body) = answer.await.map_err(|error| Fault::from_client(&error))?.into_parts();
            let body: Bytes = match Limited::new(body, limit).collect().await {
                Ok(body) => body.to_bytes(),
                Err(error) if error.is::<LengthLimitError>() => {
                    return Err(Fault::unsure(
                        FaultKind::TooLarge,
                        format!("the answer ({}) is larger than {limit} bytes", head.status.as_u16()),
                    ));
                }
                Err(error) => {
                    return Err(Fault::unsure(
                        FaultKind::Broken,
                        format!("the answer ({}) broke off: {error}", head.status.as_u16()),
                    ));
                }
            };
            Ok(Inbound::from_parts(head, body))
        })
    }
}

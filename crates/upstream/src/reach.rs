//! Checks that an upstream is reachable and accepts the credential of the gateway, for `check-config`. It reads nothing
//! of a project and sends no token of a caller.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use restore_generations::Host;

use crate::fault::{Fault, FaultKind};
use crate::{Credential, Endpoint, GatedBody, Upstream, VOLUMES, base, client};

/// Result of a connection to one address.
#[derive(Debug)]
pub struct Reached {
    /// The address.
    pub url: String,
    /// The HTTP status of any answer, or why there was none.
    pub answer: Result<u16, Fault>,
}

impl Upstream {
    /// Asks each address of the upstream for its root page. An answer of any status proves name, route, TLS and that HTTP
    /// is spoken there.
    pub async fn reach(&self) -> Vec<Reached> {
        let mut reached = Vec::new();
        for host in [Host::Backup, Host::Volumes] {
            let found = match (&self.options.endpoint, &self.options.credential) {
                (Endpoint::At(backup, volumes), _) => match base(backup, volumes.as_ref(), host) {
                    Some(base) => Ok(base),
                    None => continue,
                },
                (Endpoint::Catalog(region), Credential::Iam(iam)) => {
                    let services = if host == Host::Backup { self.generation.services() } else { VOLUMES };
                    iam.base(services, region.as_deref()).await
                }
                (Endpoint::Catalog(_), _) => Err(Fault::not_sent(FaultKind::NoEndpoint, "no such endpoint")),
            };
            reached.push(match found {
                Ok(base) => Reached { answer: self.knock(&base).await, url: base },
                Err(fault) => Reached { url: "(the catalog)".to_owned(), answer: Err(fault) },
            });
        }
        reached
    }

    async fn knock(&self, base: &str) -> Result<u16, Fault> {
        let fault = |why: String| Fault::not_sent(FaultKind::Connect, why);
        let client = client::build(&self.options, base.starts_with("https:")).map_err(fault)?;
        let request = Request::builder().method(Method::GET).uri(format!("{base}/"));
        let request =
            request.body(GatedBody::from(Bytes::new())).map_err(|error| fault(error.to_string()))?;
        let patience: Duration = self.options.connect + self.options.read;
        match tokio::time::timeout(patience, client.request(request)).await {
            Ok(Ok(answer)) => Ok(answer.status().as_u16()),
            Ok(Err(error)) => Err(Fault::from_client(&error)),
            Err(_) => Err(fault(format!("no answer within {} s", patience.as_secs()))),
        }
    }
}

impl Credential {
    /// Logs in, where there is something to log in to.
    ///
    /// # Errors
    /// Why it was not let in.
    pub async fn log_in(&self) -> Result<Option<()>, Fault> {
        match self {
            Self::Iam(iam) => iam.token().await.map(|_| Some(())),
            // Whether a signature is good is told by the first call that has one.
            Self::PassThrough | Self::Keys(_) => Ok(None),
        }
    }
}

//! Calls to identity providers about the callers of the gateway: IAM for a token, an issuer for its signing keys. They
//! are here because no other crate opens connections; the authentication of the gateway decides what follows from a
//! response.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header, request};
use restore_model::{ProjectId, Timestamp};
use serde_json::Value;

use crate::client::client_to;
use crate::coding::{NO_CODING, read_whole};
use crate::fault::Fault;
use crate::{Client, Token};

/// Longest time for one question.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest answer that is read.
const ANSWER: usize = 512 * 1024;

/// Somebody who is asked over HTTP.
struct IdentityServer {
    client: Client,
}

impl IdentityServer {
    fn new(endpoint: &Uri, ca_file: Option<PathBuf>) -> Result<Self, String> {
        Ok(Self { client: client_to(endpoint, PATIENCE, ca_file)? })
    }

    async fn ask(&self, request: request::Builder) -> Result<(StatusCode, Bytes), String> {
        let request = request
            .method(Method::GET)
            .header(header::ACCEPT, "application/json")
            .header(header::ACCEPT_ENCODING, NO_CODING)
            .body(Bytes::new().into())
            .map_err(|error| error.to_string())?;
        let ask = async {
            // What the client says of a failed connection names the address and no header.
            let answer =
                self.client.request(request).await.map_err(|error| Fault::from_client(&error).detail)?;
            let answer = read_whole(answer, ANSWER).await.map_err(|(_, why)| format!("the answer {why}"))?;
            let status = answer.status();
            Ok((status, answer.into_body()))
        };
        tokio::time::timeout(PATIENCE, ask).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }
}

/// The keys an issuer signs with (JWKS, RFC 7517), over HTTP.
pub struct KeySource {
    server: IdentityServer,
    uri: Uri,
}

impl KeySource {
    /// Keys at this address.
    ///
    /// # Errors
    /// When TLS is needed and the roots of trust cannot be loaded.
    pub fn new(uri: Uri, ca_file: Option<PathBuf>) -> Result<Self, String> {
        Ok(Self { server: IdentityServer::new(&uri, ca_file)?, uri })
    }

    /// The document as it is now.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub async fn fetch(&self) -> Result<Bytes, String> {
        let (status, body) = self.server.ask(Request::builder().uri(self.uri.clone())).await?;
        if status == StatusCode::OK {
            Ok(body)
        } else {
            Err(format!("the issuer answered {}", status.as_u16()))
        }
    }
}

/// Facts that IAM reports about a valid token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFacts {
    /// The id of the user.
    pub user_id: String,
    /// The name of the user's domain.
    pub domain: String,
    /// The project the token is for.
    pub project: ProjectId,
    /// Until when it is good.
    pub expires_at: Timestamp,
}

/// Asks IAM whether tokens are good (cloud APIs 5.1: `GET /v3/auth/tokens`).
pub struct TokenIntrospection {
    server: IdentityServer,
    uri: String,
}

impl TokenIntrospection {
    /// The IAM at this address, without `/v3`.
    ///
    /// # Errors
    /// When TLS is needed and the roots of trust cannot be loaded.
    pub fn new(iam: &Uri, ca_file: Option<PathBuf>) -> Result<Self, String> {
        let uri = format!("{}/v3/auth/tokens?nocatalog=true", iam.to_string().trim_end_matches('/'));
        Ok(Self { server: IdentityServer::new(iam, ca_file)?, uri })
    }

    /// What a token is good for; `None` when it is not. The token authorises this call itself: no other right
    /// is needed to ask about one's own.
    ///
    /// # Errors
    /// Why IAM did not say, in words without the token.
    pub async fn judge(&self, token: &Token) -> Result<Option<TokenFacts>, String> {
        let Some(value) = token.to_header() else { return Ok(None) };
        let request = Request::builder()
            .uri(&self.uri)
            .header("x-auth-token", value.clone())
            .header("x-subject-token", value);
        let (status, body) = self.server.ask(request).await?;
        match status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => return Ok(None),
            other => return Err(format!("IAM answered {}", other.as_u16())),
        }
        let body: Value = serde_json::from_slice(&body).map_err(|_| "IAM's answer is no JSON")?;
        let text = |path: &str| body.pointer(path).and_then(Value::as_str).map(str::to_owned);
        let facts = || {
            Some(TokenFacts {
                user_id: text("/token/user/id")?,
                domain: text("/token/user/domain/name")?,
                project: text("/token/project/id")?.parse().ok()?,
                expires_at: text("/token/expires_at")?.parse().ok()?,
            })
        };
        // A token for a domain, or for nothing, opens no project.
        Ok(facts())
    }
}

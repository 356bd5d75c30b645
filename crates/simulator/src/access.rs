//! Authentication: the check of tokens and signatures by the API gateway in front of every service.

use std::collections::HashMap;

use http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;

use crate::answer::Answer;
use crate::call::{Call, Cloud};
use crate::world::{PROJECT, World};

/// A token for the world's project that is always valid.
pub(crate) const DEMO_TOKEN: &str = "demo-token";

/// Authentication that a route requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// None.
    Open,
    /// Any valid token.
    Token,
    /// A token of the project in the path.
    Project,
}

/// Scope of a token.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) project_id: Option<String>,
    pub(crate) expires_at: Option<Timestamp>,
    /// The `token` object in IAM's response for it.
    pub(crate) shown: Value,
}

/// Every valid token.
#[derive(Debug)]
pub(crate) struct Tokens(HashMap<String, Grant>);

impl Tokens {
    pub(crate) fn new() -> Self {
        let demo = Grant { project_id: Some(PROJECT.to_owned()), expires_at: None, shown: Value::Null };
        Self(HashMap::from([(DEMO_TOKEN.to_owned(), demo)]))
    }

    pub(crate) fn issue(&mut self, token: String, grant: Grant) {
        self.0.insert(token, grant);
    }

    pub(crate) fn revoke(&mut self, token: &str) -> bool {
        self.0.remove(token).is_some()
    }

    /// Early invalidation: invalidates every token that IAM has issued. Returns their number.
    pub(crate) fn revoke_issued(&mut self) -> usize {
        let before = self.0.len();
        self.0.retain(|token, _| token == DEMO_TOKEN);
        before - self.0.len()
    }

    pub(crate) fn good(&self, token: &str, now: Timestamp) -> Option<&Grant> {
        self.0.get(token).filter(|grant| grant.expires_at.is_none_or(|end| now < end))
    }
}

/// The credential in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presented<'a> {
    Token(&'a str),
    Signature,
    Nothing,
}

impl<'a> Presented<'a> {
    fn of(call: &'a Call<'_>) -> Self {
        let signed = call.header("authorization").is_some_and(|value| value.starts_with("SDK-HMAC-"));
        match call.header("x-auth-token") {
            Some(token) => Presented::Token(token),
            None if signed => Presented::Signature,
            None => Presented::Nothing,
        }
    }

    /// Returns the authenticated project of the caller.
    fn scope(self, world: &mut World, call: &Call<'_>) -> Result<Option<String>, String> {
        match self {
            Presented::Token(token) => world
                .tokens
                .good(token, call.now)
                .map(|grant| grant.project_id.clone())
                .ok_or_else(|| "token expires or decrypt token failed".to_owned()),
            Presented::Signature => world.keys.verify(call).map(Some),
            Presented::Nothing => Err("x-auth-token not found".to_owned()),
        }
    }
}

/// Admits a call, or rejects it in the format of the API gateway, or of Keystone for identity calls.
pub(crate) fn admit(world: &mut World, call: &Call<'_>, access: Access, cloud: Cloud) -> Result<(), Answer> {
    if access == Access::Open {
        return Ok(());
    }
    let presented = Presented::of(call);
    // OpenStack supports tokens only.
    let presented = match (cloud, presented) {
        (Cloud::Cinder, Presented::Signature) => Presented::Nothing,
        (_, presented) => presented,
    };
    let scope = presented.scope(world, call);
    let scope = scope.map_err(|why| {
        let why = format!("Incorrect IAM authentication information: {why}");
        match cloud {
            Cloud::Iam => Answer::keystone(StatusCode::UNAUTHORIZED, &why),
            Cloud::Cinder => {
                let why = "The request you have made requires authentication.";
                Answer::keystone(StatusCode::UNAUTHORIZED, why)
            }
            _ => Answer::gateway(StatusCode::UNAUTHORIZED, "APIGW.0301", &why),
        }
    })?;
    if access == Access::Project && scope.as_deref() != Some(call.project()) {
        if cloud == Cloud::Cinder {
            return Err(Answer::fault(StatusCode::BAD_REQUEST, "Malformed request url"));
        }
        let why = "The token is not scoped to the project of the request.";
        return Err(Answer::gateway(StatusCode::FORBIDDEN, "APIGW.0302", why));
    }
    Ok(())
}

//! The credential with which a restore's upstream is called: one of the gateway, which is always available, or a
//! caller's token, which is in memory only and for the restores of that caller.

use restore_model::{Code, Problem, RoutePin};
use restore_upstream::{Token, TraceContext, Upstream, With};

/// Seconds after which a credential that was refused may have been mended.
const CREDENTIAL_REST: u32 = 60;

/// With what a restore's upstream is called.
#[derive(Clone)]
pub(crate) enum Access {
    /// The upstream's own credential; and the caller's token, for another upstream that takes such: the home of a native
    /// compatibility endpoint, which is asked what the backup is.
    Held(Option<Token>),
    /// A caller's token.
    Token(Token),
}

impl Access {
    /// The access to an upstream that a caller with this token has; none where it takes tokens and
    /// there is none.
    pub(crate) fn to(upstream: &Upstream, token: Option<Token>) -> Option<Self> {
        if upstream.holds_credential() { Some(Self::Held(token)) } else { token.map(Self::Token) }
    }

    /// For a call that is made with it.
    pub(crate) fn with(&self, trace: Option<TraceContext>) -> With {
        // An upstream with a credential never shows the token of a caller.
        With { token: self.token(), trace, ..With::default() }
    }

    /// The token that a caller brought, if there is one.
    pub(crate) fn token(&self) -> Option<Token> {
        match self {
            Self::Held(token) => token.clone(),
            Self::Token(token) => Some(token.clone()),
        }
    }

    /// True if it comes back by itself when it was refused.
    pub(crate) const fn is_held(&self) -> bool {
        matches!(self, Self::Held(_))
    }
}

/// What an upstream's refusal is to the caller. Where it was a credential of the gateway's own, the caller has none to
/// mend, and its 401 would have clients log in anew and send the restore again.
pub(crate) fn whose(problem: Problem, upstream: &Upstream) -> Problem {
    if problem.code != Code::UpstreamUnauthorized || !upstream.holds_credential() {
        return problem;
    }
    let name = upstream.name();
    let detail = format!("upstream {name} refused the gateway's own credential: {}", problem.detail);
    let ours = Problem::new(Code::CredentialFailed, detail).after(CREDENTIAL_REST);
    Problem { upstream: problem.upstream, ..ours }
}

/// Why a restore cannot be read by a process whose configuration lacks its upstream.
pub(crate) fn no_longer_named(pin: &RoutePin) -> String {
    let name = format!(
        "the configuration no longer has upstream {:?} of generation {}",
        pin.upstream, pin.generation
    );
    match &pin.at {
        Some(at) => {
            format!("{name} at {at}; while they do, under this name or another, it is followed again")
        }
        None => name,
    }
}

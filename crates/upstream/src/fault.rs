//! The reason for a missing response, and whether it proves that the call was not applied.

use std::error::Error as StdError;
use std::fmt;

use restore_model::{Code, Effect, Problem, Proof, Retry};

use crate::body::Closed;

/// Why no answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The configuration names no endpoint for the service.
    NoEndpoint,
    /// There is no credential to call with.
    NoCredential,
    /// The credential is for another project.
    OutOfScope,
    /// Too many calls are under way.
    Overloaded,
    /// The breaker is open.
    Breaker,
    /// No connection: name, route, refusal, or time.
    Connect,
    /// TLS was not agreed upon.
    Tls,
    /// A reused connection was dead before the first byte was written.
    NeverWritten,
    /// The peer refused the HTTP/2 stream.
    StreamRefused,
    /// No whole answer in time.
    Timeout,
    /// The connection broke after the first byte.
    Broken,
    /// The answer is larger than is read.
    TooLarge,
    /// The gate before the first byte was closed.
    Withheld,
    /// The repetition of a send could not be written down, so it was not made.
    NotJournalled,
}

impl FaultKind {
    /// A stable word, for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoEndpoint => "no_endpoint",
            Self::NoCredential => "no_credential",
            Self::OutOfScope => "credential_out_of_scope",
            Self::Overloaded => "overloaded",
            Self::Breaker => "breaker_open",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::NeverWritten => "never_written",
            Self::StreamRefused => "stream_refused",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::TooLarge => "too_large",
            Self::Withheld => "send_window_missed",
            Self::NotJournalled => "not_journalled",
        }
    }
}

/// A call without an answer.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Why.
    pub kind: FaultKind,
    /// The proof that the call was not applied; without one it may have been.
    pub proof: Option<Proof>,
    /// In words, without any value of the call.
    pub detail: String,
    /// A problem that says it better, where there is one.
    pub problem: Option<Box<Problem>>,
}

impl Fault {
    /// A fault before anything was sent.
    pub(crate) fn not_sent(kind: FaultKind, detail: impl Into<String>) -> Self {
        let proof = match kind {
            FaultKind::Tls => Proof::TlsFailed,
            FaultKind::NeverWritten | FaultKind::Withheld => Proof::NeverWritten,
            FaultKind::StreamRefused => Proof::StreamRefused,
            _ => Proof::NotConnected,
        };
        Self { kind, proof: Some(proof), detail: detail.into(), problem: None }
    }

    /// A fault of the gateway's own credential, before anything was sent.
    pub(crate) fn of_credential(problem: Problem) -> Self {
        let fault = Self::not_sent(FaultKind::NoCredential, problem.detail.clone());
        Self { problem: Some(Box::new(problem)), ..fault }
    }

    /// A fault after which nobody can say.
    pub(crate) fn unsure(kind: FaultKind, detail: impl Into<String>) -> Self {
        Self { kind, proof: None, detail: detail.into(), problem: None }
    }

    /// The fault behind an error of the client.
    ///
    /// `hyper-util` knows whether a request was ever written: it then gives the request back and
    /// calls the error `Canceled`. That kind is not public; its name in the text is, and a test
    /// (`a_dead_idle_connection_proves_that_nothing_was_written`) holds us to it.
    pub(crate) fn from_client(error: &hyper_util::client::legacy::Error) -> Self {
        let detail = chain(error);
        if error.is_connect() {
            let tls = sources(error).any(|source| source.downcast_ref::<rustls::Error>().is_some());
            return Self::not_sent(if tls { FaultKind::Tls } else { FaultKind::Connect }, detail);
        }
        if sources(error).filter_map(|source| source.downcast_ref()).any(refuses_certificate) {
            return Self::not_sent(FaultKind::Tls, detail);
        }
        if let Some(closed) = sources(error).find_map(|source| source.downcast_ref::<Closed>()) {
            return Self::not_sent(FaultKind::Withheld, closed.to_string());
        }
        if error.to_string().contains("(Canceled)") {
            return Self::not_sent(FaultKind::NeverWritten, detail);
        }
        if detail.contains("refused stream before processing") {
            return Self::not_sent(FaultKind::StreamRefused, detail);
        }
        Self::unsure(FaultKind::Broken, detail)
    }

    /// True if the gateway kept the call back itself: no byte of it was written.
    #[must_use]
    pub const fn is_kept_back(&self) -> bool {
        use FaultKind as Kind;
        matches!(
            self.kind,
            Kind::NoEndpoint
                | Kind::NoCredential
                | Kind::OutOfScope
                | Kind::Overloaded
                | Kind::Breaker
                | Kind::Withheld
        )
    }

    /// The problem a caller is shown.
    #[must_use]
    pub fn to_problem(&self) -> Problem {
        if let Some(problem) = &self.problem {
            return (**problem).clone();
        }
        let code = match self.kind {
            FaultKind::NoCredential => Code::CredentialMissing,
            FaultKind::OutOfScope => Code::CredentialOutOfScope,
            FaultKind::Tls => Code::UpstreamTls,
            FaultKind::Withheld => Code::SendWindowMissed,
            FaultKind::Overloaded | FaultKind::Breaker => Code::UpstreamUnavailable,
            FaultKind::NoEndpoint => Code::UpstreamMisconfigured,
            _ if self.proof.is_some() => Code::UpstreamUnreachable,
            _ => Code::OutcomeUnknown,
        };
        let problem = Problem::new(code, self.detail.clone());
        match (self.proof, code) {
            (None, _) => problem.effect(Effect::Possible).retry(Retry::Never),
            (Some(_), Code::UpstreamUnavailable) => problem.after(5),
            (Some(_), _) => problem,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.as_str(), self.detail)
    }
}

impl StdError for Fault {}

/// True if the peer ended the handshake because of the certificate it was shown, or not shown. In TLS 1.3 that is only
/// heard when the request is under way already; but a server reads nothing of it before it has verified the
/// certificate (RFC 8446, 4.4.2.4 and 4.4.3), and there is no other handshake later.
fn refuses_certificate(error: &rustls::Error) -> bool {
    use rustls::AlertDescription::{
        BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked, CertificateUnknown,
        DecryptError, UnknownCA, UnsupportedCertificate,
    };
    matches!(
        error,
        rustls::Error::AlertReceived(
            BadCertificate
                | UnsupportedCertificate
                | CertificateRevoked
                | CertificateExpired
                | CertificateUnknown
                | UnknownCA
                | DecryptError
                | CertificateRequired
        )
    )
}

/// An error and what caused it. An I/O error hides the error it carries from `source()`, and may
/// carry another I/O error.
fn sources<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| {
        match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(carried) => Some(carried as &(dyn StdError + 'static)),
            None => (*error).source(),
        }
    })
}

/// The error and what caused it, on one line.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    for source in sources(error) {
        let text = source.to_string();
        if !texts.iter().any(|earlier| earlier.contains(&text)) {
            texts.push(text);
        }
    }
    texts.join(": ").chars().map(|c| if c.is_control() { ' ' } else { c }).take(512).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejected_certificate_differs_from_other_errors() {
        use rustls::AlertDescription as Alert;
        let heard = |alert| refuses_certificate(&rustls::Error::AlertReceived(alert));
        for alert in [Alert::CertificateRequired, Alert::UnknownCA, Alert::DecryptError] {
            assert!(heard(alert), "{alert:?}");
        }
        for alert in [Alert::CloseNotify, Alert::InternalError, Alert::BadRecordMac, Alert::AccessDenied] {
            assert!(!heard(alert), "{alert:?}");
        }
        assert!(!refuses_certificate(&rustls::Error::DecryptError));
    }
}

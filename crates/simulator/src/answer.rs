//! Answers of a cloud before they become bytes: a status, headers, a body, and the error formats of each service.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

/// One answer. `chunked` sends the body without a `Content-Length`, even when it is empty.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
    pub(crate) chunked: bool,
}

impl Answer {
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new(), chunked: false }
    }

    pub(crate) fn json(status: StatusCode, body: &Value) -> Self {
        Self::typed(status, "application/json", body.to_string())
    }

    pub(crate) fn ok(body: &Value) -> Self {
        Self::json(StatusCode::OK, body)
    }

    pub(crate) fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut answer = Self { body: body.into(), ..Self::empty(status) };
        answer.headers.push((CONTENT_TYPE, HeaderValue::from_static(content_type)));
        answer
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    pub(crate) fn without_content_type(mut self) -> Self {
        self.headers.retain(|(name, _)| name != CONTENT_TYPE);
        self
    }

    /// The flat form of CSBS and CBR.
    pub(crate) fn flat(status: StatusCode, code: &str, message: &str) -> Self {
        Self::json(status, &json!({"error_code": code, "error_msg": message}))
    }

    /// The API gateway in front of every service; its request ID is 32 hex digits in the body.
    pub(crate) fn gateway(status: StatusCode, code: &str, message: &str) -> Self {
        let request_id = crate::ids::uuid().simple().to_string();
        Self::json(status, &json!({"error_code": code, "error_msg": message, "request_id": request_id}))
    }

    pub(crate) fn no_such_api() -> Self {
        Self::gateway(
            StatusCode::NOT_FOUND,
            "APIGW.0101",
            "The API does not exist or has not been published.",
        )
    }

    /// The nested form of VBS: the code is a string.
    pub(crate) fn nested(status: StatusCode, code: &str, message: &str) -> Self {
        Self::json(status, &json!({"error": {"code": code, "message": message}}))
    }

    /// An error of Karbor and native Cinder: its member has the name of its status.
    pub(crate) fn fault(status: StatusCode, message: &str) -> Self {
        Self::named_fault(status, &json!(status.as_u16()), message)
    }

    /// The same with a code of the service instead of the number, as on the native VBS paths.
    pub(crate) fn coded_fault(status: StatusCode, code: &str, message: &str) -> Self {
        Self::named_fault(status, &json!(code), message)
    }

    fn named_fault(status: StatusCode, code: &Value, message: &str) -> Self {
        let name = match status.as_u16() {
            400 => "badRequest",
            401 => "unauthorized",
            403 => "forbidden",
            404 => "itemNotFound",
            405 => "badMethod",
            409 => "conflictingRequest",
            413 | 429 => "overLimit",
            415 => "badMediaType",
            501 => "notImplemented",
            503 => "serviceUnavailable",
            _ => "computeFault",
        };
        Self::json(status, &json!({name: {"code": code, "message": message}}))
    }

    /// Keystone: the nested form with an integer code and a title.
    pub(crate) fn keystone(status: StatusCode, message: &str) -> Self {
        let title = status.canonical_reason().unwrap_or_default();
        Self::json(status, &json!({"error": {"code": status.as_u16(), "message": message, "title": title}}))
    }
}

/// A business error, before the source API formats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: &'static str,
}

impl Refusal {
    /// Almost every rejection of these services is a 400.
    pub(crate) const fn bad(code: &'static str, message: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code, message }
    }

    pub(crate) const fn missing(code: &'static str, message: &'static str) -> Self {
        Self { status: StatusCode::NOT_FOUND, code, message }
    }

    /// A client error that the service returns as a 500.
    pub(crate) const fn dressed_as_500(code: &'static str, message: &'static str) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, code, message }
    }

    pub(crate) fn flat(self) -> Answer {
        Answer::flat(self.status, self.code, self.message)
    }
}

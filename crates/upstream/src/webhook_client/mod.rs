//! The client for webhooks: sends one signed message to one receiver and reports the result.
//!
//! Place: beside the outbound stack to the clouds, and used by the relay of webhooks only. It shares TLS with that
//! stack and nothing else: a message is small, may be sent twice, and carries no token of a caller.
//!
//! The configuration names the receiver, and its author may not be allowed to reach everything that the gateway can. So
//! each delivery resolves the name, checks every address, connects to exactly these, and follows no redirect (S8).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use restore_model::Timestamp;
use rustls::ClientConfig;

mod address;
mod connect;
mod signing;

pub use address::{is_public, literal_address};
pub use signing::SigningKey;

use crate::client::tls_config;
use crate::fault::chain;
use crate::layers::retry::retry_after;
use crate::{Options, SecretCell};
use connect::Pinned;

/// How much of an answer is read: it says nothing, but a receiver may want to have said it.
const ANSWER_BYTES: usize = 64 * 1024;
const USER_AGENT: &str = concat!("restore-gateway/", env!("CARGO_PKG_VERSION"));

/// One receiver.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// Where messages are posted to.
    pub url: Uri,
    /// The key of the signatures.
    pub key: SecretCell<SigningKey>,
    /// For one delivery, from the look-up of the name to the end of the answer.
    pub timeout: Duration,
    /// True if the receiver may be on an address that is not public.
    pub allow_private: bool,
}

/// One message.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its name, the same however often it is sent.
    pub id: String,
    /// When it is sent; a receiver refuses what is too old.
    pub at: Timestamp,
    /// A CloudEvent in JSON.
    pub body: Bytes,
}

/// Result of the delivery of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// The receiver has it.
    Delivered,
    /// The receiver wants no more, ever (410).
    Gone,
    /// It may or may not have it.
    Failed {
        /// Why, in words without any part of a secret.
        why: String,
        /// How long the receiver wants to be left alone.
        retry_after: Option<Duration>,
    },
}

/// Takes messages to one receiver. Nothing is kept between two deliveries but the roots of trust.
#[derive(Clone, Debug)]
pub struct WebhookClient {
    receiver: Arc<Receiver>,
    tls: ClientConfig,
}

impl WebhookClient {
    /// A client for a receiver.
    ///
    /// # Errors
    /// When the URL is not absolute, or TLS is needed and the system's roots of trust cannot be loaded.
    pub fn new(receiver: Receiver) -> Result<Self, String> {
        if receiver.url.host().is_none() || receiver.url.scheme().is_none() {
            return Err("the url is not absolute".to_owned());
        }
        let tls = receiver.url.scheme_str() == Some("https");
        let tls = tls_config(&Options::to("", receiver.url.clone()), tls)?;
        Ok(Self { receiver: Arc::new(receiver), tls })
    }

    /// Delivers a message: one attempt, in the receiver's time.
    pub async fn deliver(&self, message: Message) -> Receipt {
        let timeout = self.receiver.timeout;
        let attempt = async {
            let addresses = self.resolve().await?;
            self.post(addresses, message).await
        };
        match tokio::time::timeout(timeout, attempt).await {
            Ok(Ok(receipt)) => receipt,
            Ok(Err(why)) => Receipt::Failed { why, retry_after: None },
            Err(_) => Receipt::Failed {
                why: format!("no answer within {} s", timeout.as_secs_f32()),
                retry_after: None,
            },
        }
    }

    /// Every address of the receiver's host, if all of them may be sent to. One that may not condemns the others:
    /// a name of a public receiver has none.
    async fn resolve(&self) -> Result<Arc<[SocketAddr]>, String> {
        let url = &self.receiver.url;
        let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("https") { 443 } else { 80 });
        let found = tokio::net::lookup_host((host, port)).await;
        let addresses: Arc<[SocketAddr]> =
            found.map_err(|error| format!("the name does not resolve: {error}"))?.collect();
        if addresses.is_empty() {
            return Err("the name has no address".to_owned());
        }
        if !self.receiver.allow_private && !addresses.iter().all(|address| is_public(address.ip())) {
            return Err("the name leads to an address that is not public".to_owned());
        }
        Ok(addresses)
    }

    /// Posts a message to addresses that were checked.
    async fn post(&self, addresses: Arc<[SocketAddr]>, message: Message) -> Result<Receipt, String> {
        let Receiver { url, key, .. } = &*self.receiver;
        let seconds = message.at.as_micros().div_euclid(1_000_000);
        let request = Request::post(url)
            .header(header::CONTENT_TYPE, "application/cloudevents+json")
            .header(header::USER_AGENT, USER_AGENT)
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", key.current().sign(&message.id, seconds, &message.body))
            .body(Full::<Bytes>::new(message.body))
            .map_err(|error| error.to_string())?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(self.tls.clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(Pinned(addresses));
        // A client of its own: a connection that is kept would outlive the check of its address.
        let client = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_max_idle_per_host(0)
            .retry_canceled_requests(false)
            .build(connector);
        let answer = client.request(request).await.map_err(|error| chain(&error))?;
        let (status, retry_after) = (answer.status(), retry_after(&answer));
        let _ = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
        Ok(match status {
            StatusCode::GONE => Receipt::Gone,
            status if status.is_success() => Receipt::Delivered,
            status if status.is_redirection() => Receipt::Failed {
                why: format!("answered {}, and redirects are not followed", status.as_u16()),
                retry_after: None,
            },
            status => Receipt::Failed { why: format!("answered {}", status.as_u16()), retry_after },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn webhook_client(url: &str, allow_private: bool) -> WebhookClient {
        let receiver = Receiver {
            url: url.parse().unwrap(),
            key: SecretCell::new(SigningKey::parse(SECRET).unwrap()),
            timeout: Duration::from_secs(20),
            allow_private,
        };
        WebhookClient::new(receiver).unwrap()
    }

    fn message() -> Message {
        Message {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(),
            at: Timestamp::from_micros(1_614_265_330_000_000),
            body: Bytes::from_static(b"{\"test\": 2432232314}"),
        }
    }

    /// A receiver that answers once; returns what it got.
    async fn receiver(answer: &'static str) -> (SocketAddr, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let got = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut got = Vec::new();
            while !got.ends_with(b"2432232314}") {
                assert_ne!(socket.read_buf(&mut got).await.unwrap(), 0, "cut off");
            }
            // the answer may not be read to its end
            let _ = socket.write_all(answer.as_bytes()).await;
            String::from_utf8(got).unwrap()
        });
        (address, got)
    }

    #[tokio::test]
    async fn the_connection_goes_to_the_checked_address_whatever_the_name_says_now() {
        let (address, got) = receiver("HTTP/1.1 204 No Content\r\n\r\n").await;
        let webhook_client = webhook_client("http://receiver.invalid/hooks/restores", false);
        let receipt = webhook_client.post([address].into(), message()).await;
        assert_eq!(receipt, Ok(Receipt::Delivered));
        let got = got.await.unwrap();
        assert!(got.starts_with("POST /hooks/restores HTTP/1.1\r\n"), "{got}");
        for line in [
            "host: receiver.invalid",
            "content-type: application/cloudevents+json",
            "webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek",
            "webhook-timestamp: 1614265330",
            "webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ] {
            assert!(got.contains(&format!("\r\n{line}\r\n")), "{line} in {got}");
        }
        let unresolved = webhook_client.deliver(message()).await;
        assert!(matches!(unresolved, Receipt::Failed { .. }), "{unresolved:?}");
    }

    #[tokio::test]
    async fn what_is_not_public_is_not_sent_to_however_it_is_spelled() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in
            ["127.0.0.1", "2130706433", "0x7f.1", "127.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0"]
        {
            let receipt = webhook_client(&format!("http://{host}:{port}/"), false).deliver(message()).await;
            let Receipt::Failed { why, .. } = receipt else { panic!("{host}: {receipt:?}") };
            assert!(why.contains("not public") || why.contains("does not resolve"), "{host}: {why}");
        }
        // And where it is allowed, it is.
        let allowed = webhook_client(&format!("http://127.0.0.1:{port}/"), true);
        let sent = tokio::spawn(async move { allowed.deliver(message()).await });
        listener.accept().await.unwrap();
        sent.abort();
    }

    #[tokio::test]
    async fn responses_are_classified() {
        let long: &'static str =
            Box::leak(format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(10 * ANSWER_BYTES)).into_boxed_str());
        let failed = |why: &str, after: Option<u64>| Receipt::Failed {
            why: why.to_owned(),
            retry_after: after.map(Duration::from_secs),
        };
        for (answer, expected) in [
            ("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n", Receipt::Gone),
            (
                "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
                failed("answered 307, and redirects are not followed", None),
            ),
            (
                "HTTP/1.1 503 Service Unavailable\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n",
                failed("answered 503", Some(7)),
            ),
            ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", failed("answered 404", None)),
            (long, Receipt::Delivered),
        ] {
            let (address, got) = receiver(answer).await;
            let webhook_client = webhook_client(&format!("http://{address}/"), true);
            assert_eq!(webhook_client.deliver(message()).await, expected);
            got.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_receiver_that_never_answers_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut webhook_client = webhook_client(&format!("http://{}/", listener.local_addr().unwrap()), true);
        Arc::make_mut(&mut webhook_client.receiver).timeout = Duration::from_millis(50);
        let receipt = webhook_client.deliver(message()).await;
        assert_eq!(receipt, Receipt::Failed { why: "no answer within 0.05 s".to_owned(), retry_after: None });
    }
}

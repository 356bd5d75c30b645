//! The two servers: an upstream that accepts every restore, and the proxy everything is compared
//! with: hyper in, hyper out, bodies read whole, nothing else.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

type Answer = Response<Full<Bytes>>;

/// Answers every POST as VBS does, and every GET as a job that runs.
pub(crate) async fn upstream(port: &str) -> Result<(), String> {
    serve(port, |request: Request<Incoming>| async move {
        let post = request.method() == http::Method::POST;
        let _ = request.into_body().collect().await;
        let body = if post {
            r#"{"job_id": "4010a7c9528b1f3e01528cc0d9e24f7b"}"#
        } else {
            r#"{"job_id": "4010a7c9528b1f3e01528cc0d9e24f7b", "status": "RUNNING"}"#
        };
        json(body)
    })
    .await
}

/// Passes every request on and every answer back.
pub(crate) async fn passthrough(port: &str, upstream: &str) -> Result<(), String> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let upstream = format!("http://127.0.0.1:{upstream}");
    serve(port, move |request: Request<Incoming>| {
        let (client, upstream) = (client.clone(), upstream.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let mut onward =
                Request::builder().method(head.method).uri(format!("{upstream}{}", head.uri.path()));
            if let Some(kind) = head.headers.get("content-type") {
                onward = onward.header("content-type", kind);
            }
            let Ok(onward) = onward.body(Full::new(body)) else { return json("{}") };
            match client.request(onward).await {
                Ok(answer) => {
                    let (head, body) = answer.into_parts();
                    let body =
                        body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                    let mut answer = Response::new(Full::new(body));
                    *answer.status_mut() = head.status;
                    answer
                }
                Err(_) => json("{}"),
            }
        }
    })
    .await
}

fn json(body: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    answer.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    answer
}

async fn serve<F, R>(port: &str, handler: F) -> Result<(), String>
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Answer> + Send + 'static,
{
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await.map_err(|error| error.to_string())?;
    loop {
        let (socket, _) = listener.accept().await.map_err(|error| error.to_string())?;
        let _ = socket.set_nodelay(true);
        let handler = handler.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = handler(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}

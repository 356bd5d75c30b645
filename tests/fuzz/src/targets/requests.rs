//! One request, and every reader of authority, host, path and signature: none understands another request than the others.
//! First line method and target in origin form, second line the host, third line another target that is sent under the
//! signature of the first, further lines headers, an empty line, the body.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version};
use restore_gateway::readers::{KEYS, NOW, Readers, Understood};
use restore_upstream::signing::sign;

pub(crate) const MAX_LEN: usize = 4 * 1024;

static READERS: LazyLock<Readers> = LazyLock::new(Readers::new);

/// Where the authority of a request stands.
#[derive(Clone, Copy, PartialEq)]
enum Spelling {
    Host,
    Both,
    Authority,
}

pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut lines = head.split('\n');
    let (method, target) = lines.next().unwrap_or_default().split_once(' ').unwrap_or(("GET", "/"));
    let (host, other) = (lines.next().unwrap_or_default(), lines.next().unwrap_or("/"));
    let Ok(method) = Method::from_bytes(method.as_bytes()) else { return };
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let name = HeaderName::from_bytes(name.trim().as_bytes());
        let value = HeaderValue::from_bytes(value.trim().as_bytes());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers.remove("host");
    if let Some(first) = one_request(&method, target, host, &headers, body.as_bytes()) {
        signed(&method, target, host, &first, other, body.as_bytes());
    }
}

/// However its authority is written, a request is one to every reader.
fn one_request(method: &Method, target: &str, host: &str, headers: &HeaderMap, body: &[u8]) -> Option<Understood> {
    let mut all = Vec::new();
    for spelling in [Spelling::Host, Spelling::Both, Spelling::Authority] {
        let Some(request) = request(method, target, host, headers, spelling) else { continue };
        let Ok(understood) = READERS.read(request, body) else { continue };
        let Understood { path, target: whole, .. } = &understood;
        assert_eq!(whole.split('?').next(), Some(path.as_str()), "two readers of the path");
        assert!(path.starts_with('/') || path == "*", "no path: {path}");
        all.push(understood);
    }
    for pair in all.windows(2) {
        assert_eq!(pair[0], pair[1], "two spellings are two requests");
    }
    all.pop()
}

/// What was signed is what is asked for, and under its signature nothing else can be.
fn signed(method: &Method, target: &str, host: &str, plain: &Understood, other: &str, body: &[u8]) {
    let mut headers = HeaderMap::new();
    let Ok(value) = HeaderValue::from_str(host) else { return };
    headers.insert("host", value);
    headers.insert("x-sdk-date", HeaderValue::from_static(NOW));
    let made = sign(KEYS, (method.as_str(), &plain.target), &headers, &["host", "x-sdk-date"], body);
    let Some(made) = made else { return };
    headers.insert("authorization", HeaderValue::try_from(made).unwrap_or_else(|why| panic!("{why}")));
    headers.remove("host");
    let mut meant = None;
    for (at, target) in [target, other].into_iter().enumerate() {
        for spelling in [Spelling::Host, Spelling::Both, Spelling::Authority] {
            let Some(request) = request(method, target, host, &headers, spelling) else { continue };
            let Ok(understood) = READERS.read(request, body) else { continue };
            let Some(Some(asked)) = understood.signed else { continue };
            assert_eq!(understood.host.as_deref().map(str::trim), Some(host.trim()), "another host than the signed one");
            let first = meant.get_or_insert_with(|| asked.clone());
            assert_eq!(*first, asked, "one signature, two meanings: {target} is number {at}");
        }
    }
}

fn request(method: &Method, target: &str, host: &str, headers: &HeaderMap, spelling: Spelling) -> Option<Request<()>> {
    let uri = match spelling {
        Spelling::Host => target.to_owned(),
        // Other text would continue the host.
        Spelling::Both | Spelling::Authority if !target.starts_with(['/', '?']) => return None,
        // Of an absolute target the path may be left out.
        Spelling::Both | Spelling::Authority => {
            let is_root = target == "/" || target.starts_with("/?");
            format!("http://{host}{}", if is_root { &target[1..] } else { target })
        }
    };
    let mut builder = Request::builder().method(method.clone()).uri(uri).version(match spelling {
        Spelling::Authority => Version::HTTP_2,
        Spelling::Host | Spelling::Both => Version::HTTP_11,
    });
    *builder.headers_mut()? = headers.clone();
    if spelling != Spelling::Authority {
        builder = builder.header("host", host);
    }
    builder.body(()).ok()
}

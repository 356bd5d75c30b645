//! Reads responses to their end, in any content coding. The gateway requests none, but some servers and proxies
//! compress anyway (RFC 9110, 12.5.3 allows it without `Accept-Encoding`). Others declare a coding that they did not
//! apply, or write JSON in another form of Unicode than UTF-8. The response to a restore call names its task, so none
//! may be lost because of its form. The size limit applies to the decoded body, so that a few bytes cannot fill the
//! memory.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, header};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::stack::UpstreamResponse;

/// Sent with every request.
pub(crate) const NO_CODING: HeaderValue = HeaderValue::from_static("identity");
/// The buffer that brotli reads through.
const BUFFER: usize = 4096;

/// Why an answer is not whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// It is larger than is read, coded or not.
    #[error("is larger than {0} bytes")]
    TooLarge(usize),
    /// It ended in the middle.
    #[error("broke off: {0}")]
    Broken(String),
    /// It is not coded as it says.
    #[error("is not coded as its Content-Encoding {0:?} says: {1}")]
    Coding(String, io::Error),
}

/// The answer with its body whole and without coding, of at most `limit` bytes.
pub(crate) async fn read_whole<B>(
    answer: http::Response<B>,
    limit: usize,
) -> Result<UpstreamResponse, (Parts, Unreadable)>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let (mut head, body) = answer.into_parts();
    let body = match Limited::new(body, limit).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err((head, Unreadable::TooLarge(limit))),
        Err(error) => return Err((head, Unreadable::Broken(error.to_string()))),
    };
    match plain(&mut head.headers, body, limit) {
        Ok(body) => Ok(UpstreamResponse::from_parts(head, utf8(body))),
        Err(why) => Err((head, why)),
    }
}

/// Takes the codings off, the last one first. One that is not known stays, with all before it.
fn plain(headers: &mut HeaderMap, mut body: Bytes, limit: usize) -> Result<Bytes, Unreadable> {
    let named: Vec<String> = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty())
        .collect();
    for name in named.into_iter().rev() {
        // A proxy that decodes may leave the header as it was. JSON is a beginning of no coding that is known.
        if body.is_empty() || is_json(&body) {
            break;
        }
        let decoded = match name.as_str() {
            "identity" => continue,
            "gzip" | "x-gzip" if !body.starts_with(&[0x1f, 0x8b]) => continue,
            "gzip" | "x-gzip" => bounded(MultiGzDecoder::new(&body[..]), limit),
            // The standard means zlib's format; some servers send the bare stream.
            "deflate" => match bounded(ZlibDecoder::new(&body[..]), limit) {
                Err(_) => bounded(DeflateDecoder::new(&body[..]), limit),
                decoded => decoded,
            },
            "br" => bounded(brotli_decompressor::Decompressor::new(&body[..], BUFFER), limit),
            _ => return Ok(body),
        };
        body = match decoded {
            Ok(Some(decoded)) => decoded.into(),
            Ok(None) => return Err(Unreadable::TooLarge(limit)),
            Err(error) => return Err(Unreadable::Coding(name, error)),
        };
    }
    headers.remove(header::CONTENT_ENCODING);
    headers.remove(header::CONTENT_LENGTH);
    Ok(body)
}

/// True if a body is JSON, in any form of Unicode.
fn is_json(body: &Bytes) -> bool {
    serde_json::from_slice::<serde_json::Value>(&utf8(body.clone())).is_ok()
}

/// Text without a byte order mark, in UTF-8 where its mark says that it is in UTF-16; anything else as it is.
fn utf8(body: Bytes) -> Bytes {
    let of: fn([u8; 2]) -> u16 = match &body[..] {
        [0xef, 0xbb, 0xbf, ..] => return body.slice(3..),
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        _ => return body,
    };
    let (pairs, rest) = body[2..].as_chunks::<2>();
    let text: Result<String, _> = char::decode_utf16(pairs.iter().copied().map(of)).collect();
    match text {
        Ok(text) if rest.is_empty() => text.into(),
        _ => body,
    }
}

/// All of it, or none where it is more than `limit` bytes.
fn bounded(from: impl Read, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut all = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX);
    from.take(most.saturating_add(1)).read_to_end(&mut all)?;
    Ok((all.len() <= limit).then_some(all))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use http_body_util::Full;

    use super::*;

    const TEXT: &[u8] = br#"{"job_id":"4010a7c9528b1f3e01528cc0d9e24f7b"}"#;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn raw(text: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// As brotli writes a text of up to 65,536 bytes that it does not compress: a window of 16 bits,
    /// one uncompressed block, the empty last block.
    fn brotli(text: &[u8]) -> Vec<u8> {
        let length = text.len() - 1;
        // 0: window of 16 bits; 0: not the last block; 00: four nibbles of length; the length; 1: not compressed.
        let head = (length << 4) | (1 << 20);
        let mut coded = head.to_le_bytes()[..3].to_vec();
        coded.extend_from_slice(text);
        // 1: the last block; 1: it is empty.
        coded.push(3);
        coded
    }

    fn utf16(of: fn(u16) -> [u8; 2]) -> Vec<u8> {
        let text = std::str::from_utf8(TEXT).unwrap();
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(of).collect()
    }

    async fn read(codings: &[&str], body: Vec<u8>, limit: usize) -> Result<Vec<u8>, String> {
        let mut answer = http::Response::builder();
        for coding in codings {
            answer = answer.header("content-encoding", *coding);
        }
        let answer = answer.body(Full::<Bytes>::from(body)).unwrap();
        read_whole(answer, limit)
            .await
            .map(|read| read.into_body().to_vec())
            .map_err(|(_, why)| why.to_string())
    }

    #[tokio::test]
    async fn f51_every_coding_is_read_as_if_there_were_none() {
        let all = [
            (vec!["gzip"], gzip(TEXT)),
            (vec!["x-gzip"], gzip(TEXT)),
            (vec!["GZIP"], gzip(TEXT)),
            (vec!["deflate"], zlib(TEXT)),
            (vec!["deflate"], raw(TEXT)),
            (vec!["br"], brotli(TEXT)),
            (vec!["identity"], TEXT.to_vec()),
            (vec![], TEXT.to_vec()),
            (vec!["deflate, gzip"], gzip(&zlib(TEXT))),
            (vec!["br", "gzip"], gzip(&brotli(TEXT))),
            // It was decoded on its way, and the header stayed.
            (vec!["gzip"], TEXT.to_vec()),
            (vec!["deflate"], TEXT.to_vec()),
            (vec!["br"], TEXT.to_vec()),
            (vec!["zstd"], TEXT.to_vec()),
            (vec!["br, gzip"], gzip(TEXT)),
            // Other forms of Unicode.
            (vec![], [b"\xef\xbb\xbf", TEXT].concat()),
            (vec!["gzip"], gzip(&[b"\xef\xbb\xbf", TEXT].concat())),
            (vec![], utf16(u16::to_be_bytes)),
            (vec!["deflate"], utf16(u16::to_le_bytes)),
        ];
        for (codings, body) in all {
            assert_eq!(read(&codings, body, 1024).await.as_deref(), Ok(TEXT), "{codings:?}");
        }
        assert_eq!(read(&["gzip"], Vec::new(), 1024).await.as_deref(), Ok(&[][..]), "nothing is nothing");
        let half = vec![0xfe, 0xff, 0x7b];
        assert_eq!(read(&[], half.clone(), 1024).await, Ok(half), "no whole text");
        assert_eq!(read(&["zstd"], vec![1, 2], 1024).await, Ok(vec![1, 2]), "one that is not known stays");
    }

    #[tokio::test]
    async fn f51_the_bound_holds_for_what_comes_out() {
        let large = vec![b' '; 1024 * 1024];
        for (coding, body) in [("gzip", gzip(&large)), ("deflate", zlib(&large)), ("deflate", raw(&large))] {
            assert!(body.len() < 8 * 1024);
            let read = read(&[coding], body, 64 * 1024).await;
            assert_eq!(read, Err("is larger than 65536 bytes".to_owned()), "{coding}");
        }
        assert_eq!(read(&["gzip"], gzip(&[7; 64]), 64).await, Ok(vec![7; 64]), "the bound itself");
    }

    #[tokio::test]
    async fn f51_what_is_cut_or_broken_is_no_answer() {
        for (coding, whole) in [("gzip", gzip(TEXT)), ("deflate", zlib(TEXT)), ("br", brotli(TEXT))] {
            let cut = whole[..whole.len() / 2].to_vec();
            assert!(read(&[coding], cut, 1024).await.is_err(), "{coding}");
        }
    }
}

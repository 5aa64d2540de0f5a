//! Answers as a proxy or a content delivery network compresses them.

use std::io::{Read, Write as _};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::Response;
use hyper::header::{CONTENT_ENCODING, HeaderValue};

/// The answer in gzip, with `padding` bytes of white space before its body. One that is compressed already stays.
pub(crate) fn compressed(answer: Response<Bytes>, padding: u64) -> Response<Bytes> {
    if answer.headers().contains_key(CONTENT_ENCODING) {
        return answer;
    }
    let (mut parts, body) = answer.into_parts();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = std::io::copy(&mut std::io::repeat(b' ').take(padding), &mut encoder);
    // A `Vec` takes whatever is written; were it not so, the plain answer serves as well.
    match written.and_then(|_| encoder.write_all(&body)).and_then(|()| encoder.finish()) {
        Ok(small) => {
            parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            Response::from_parts(parts, Bytes::from(small))
        }
        Err(_) => Response::from_parts(parts, body),
    }
}

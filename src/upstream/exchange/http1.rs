//! On an HTTP/1.1 connection (RFC 9112).

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use hyper::client::conn::TrySendError;

use super::{Address, Arrived, Terms};
use crate::http::h1::Violation;
use crate::http::upgrade;
use crate::upstream::body::{BodyProgress, Incoming, RequestBody};
use crate::upstream::connect::Http1;
use crate::upstream::error::{Failure, RequestBodyError};
use crate::upstream::request::{FetchRequest, OnInterim};
use crate::upstream::retry::{Missed, Sent};

pub(super) async fn exchange(
    conn: &mut Http1,
    request: &FetchRequest,
    address: Address<'_>,
    body: RequestBody,
    terms: Terms<'_>,
) -> Result<Arrived, (Missed, Option<RequestBody>)> {
    let Terms { progress, sent, waits, alarm } = terms;
    let mut outgoing = outgoing(request, address, body);
    let gated = progress.filter(|_| request.expect_continue);
    listen_for_interim(&mut outgoing, request.on_interim.as_ref(), gated);
    let progress = progress.map(|progress| &**progress);
    let started = Instant::now();
    let mut reply = pin!(conn.send(outgoing));
    let arrived = poll_fn(|cx| match reply.as_mut().poll(cx) {
        Poll::Ready(reply) => Poll::Ready(Ok(reply)),
        Poll::Pending => super::poll_overdue(cx, alarm, started, progress, waits).map(Err),
    });
    match arrived.await {
        Ok(Ok(reply))
            if reply.status() == StatusCode::SWITCHING_PROTOCOLS && !is_asked_for(&reply, request) =>
        {
            let failure = Failure::InvalidResponse("101 to what was not asked for".into());
            Err((Missed { failure, sent }, None))
        }
        Ok(Ok(reply)) => Ok(Arrived { response: reply.map(Incoming::Http1), sending: None }),
        Ok(Err(error)) => Err(missed(error, progress, sent)),
        Err(failure) => Err((Missed { failure, sent }, None)),
    }
}

/// Whether a 101 goes over to the protocol that was asked for (RFC 9110 7.8).
fn is_asked_for(reply: &http::Response<hyper::body::Incoming>, request: &FetchRequest) -> bool {
    request.upgrade.as_ref().is_some_and(|asked| upgrade::switches_to(reply.headers(), asked))
}

/// The request as the endpoint gets it: origin-form, `Host` first, framed as the body demands.
fn outgoing(request: &FetchRequest, address: Address<'_>, body: RequestBody) -> Request<RequestBody> {
    let mut headers = HeaderMap::with_capacity(request.headers.len() + 4);
    headers.append(header::HOST, address.host);
    super::fields(request, &mut headers, &body);
    frame(&mut headers, &request.method, &body);
    // RFC 9110 7.6.1: what is only for the next hop says so.
    if headers.contains_key(header::TE) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("TE"));
    }
    let protocol = request.upgrade.as_ref().and_then(|protocol| HeaderValue::try_from(&**protocol).ok());
    if let Some(protocol) = protocol {
        let options = if headers.contains_key(header::TE) { "TE, upgrade" } else { "upgrade" };
        headers.insert(header::CONNECTION, HeaderValue::from_static(options));
        headers.insert(header::UPGRADE, protocol);
    }
    let mut outgoing = Request::new(body);
    *outgoing.method_mut() = request.method.clone();
    *outgoing.uri_mut() = Uri::from(super::join(address.base_path, &request.target));
    *outgoing.headers_mut() = headers;
    outgoing
}

/// States how the body ends explicitly: hyper drops a GET's body otherwise.
fn frame(headers: &mut HeaderMap, method: &Method, body: &RequestBody) {
    let streams = matches!(body, RequestBody::Stream(_));
    if streams && !headers.contains_key(header::CONTENT_LENGTH) {
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    super::declare(headers, method, body);
}

/// Has interim replies passed on, and the body kept back until the origin asks for it.
fn listen_for_interim(
    outgoing: &mut Request<RequestBody>,
    on_interim: Option<&OnInterim>,
    gated: Option<&Arc<BodyProgress>>,
) {
    let (on_interim, gated) = (on_interim.cloned(), gated.cloned());
    if on_interim.is_none() && gated.is_none() {
        return;
    }
    hyper::ext::on_informational(outgoing, move |interim| {
        if let Some(gate) = gated.as_ref().filter(|_| interim.status() == StatusCode::CONTINUE) {
            gate.open_gate();
        }
        if let Some(tell) = &on_interim {
            tell(interim.status(), interim.headers());
        }
    });
}

fn missed(
    mut error: TrySendError<Request<RequestBody>>,
    progress: Option<&BodyProgress>,
    sent: Sent,
) -> (Missed, Option<RequestBody>) {
    let unwritten = error.take_message().map(Request::into_body);
    let error = error.into_error();
    let sent = if unwritten.is_some() { sent.unwritten() } else { sent };
    let broken_body = progress.and_then(BodyProgress::failure);
    let violation = Violation::within(&error);
    let failure = match (broken_body, violation) {
        (Some(broken), _) => Failure::RequestBody(broken),
        (None, Some(violation)) => Failure::InvalidResponse(Box::new(violation)),
        _ if error.is_user() || error.is_body_write_aborted() => {
            Failure::RequestBody(RequestBodyError::Aborted)
        }
        _ if error.is_parse() => Failure::InvalidResponse(Box::new(error)),
        _ => Failure::reset(error),
    };
    (Missed { failure, sent }, unwritten)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;

    use std::time::Duration;

    use http::header::HeaderName;
    use http::uri::PathAndQuery;

    use super::*;
    use crate::upstream::body::StreamBody;

    fn stream() -> RequestBody {
        let body = Full::new(Bytes::from_static(b"x"));
        RequestBody::Stream(StreamBody::boxed(body, Duration::from_secs(1), None))
    }

    fn head(method: Method, given: &[(&str, &str)], body: RequestBody) -> Vec<String> {
        let mut request = FetchRequest::new(method, PathAndQuery::from_static("/a?b"));
        for (name, value) in given {
            request.headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let address = Address { scheme: "http", host: HeaderValue::from_static("h"), base_path: "/base" };
        let outgoing = outgoing(&request, address, body);
        assert_eq!(outgoing.uri(), "/base/a?b");
        let line =
            |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        outgoing.headers().iter().map(line).collect()
    }

    #[test]
    fn host_comes_first_and_framing_is_ours() {
        let given =
            [("content-length", "7"), ("accept", "*/*"), ("transfer-encoding", "gzip"), ("host", "evil")];
        assert_eq!(head(Method::GET, &given, RequestBody::Empty), ["host: h", "accept: */*"]);
        assert_eq!(head(Method::POST, &[], RequestBody::Empty), ["host: h", "content-length: 0"]);
        let full = RequestBody::Full(Bytes::from_static(b"abc"));
        assert_eq!(head(Method::PUT, &given[..1], full), ["host: h", "content-length: 3"]);
        assert_eq!(head(Method::GET, &[], stream()), ["host: h", "transfer-encoding: chunked"]);
        assert_eq!(head(Method::GET, &[("content-length", "1")], stream()), ["host: h", "content-length: 1"]);
    }

    #[test]
    fn te_names_itself_in_connection() {
        let lines = head(Method::GET, &[("te", "trailers")], RequestBody::Empty);
        assert_eq!(lines, ["host: h", "te: trailers", "connection: TE"]);
    }
}

//! On a stream of an HTTP/2 connection (RFC 9113 8).

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};
use std::time::Instant;

use h2::Reason;
use h2::client::ResponseFuture;
use http::header;
use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body::Body as _;

use super::{Address, Arrived, Interim, Terms};
use crate::http::h1;
use crate::upstream::body::{Http2Body, Incoming, Pump, Pumped, RequestBody, Sending};
use crate::upstream::connect::Stream;
use crate::upstream::error::Failure;
use crate::upstream::request::FetchRequest;
use crate::upstream::retry::{Missed, Sent};

pub(super) async fn exchange(
    stream: &mut Stream,
    request: &FetchRequest,
    address: Address<'_>,
    body: RequestBody,
    terms: Terms<'_>,
) -> Result<Arrived, (Missed, Option<RequestBody>)> {
    let Terms { progress, sent, waits, alarm } = terms;
    let progress = progress.map(|progress| &**progress);
    let head = outgoing(request, address, &body);
    let ends = body.is_end_stream();
    let (mut reply, sender) = match stream.send(head, ends) {
        Ok(opened) => opened,
        // Nothing was sent.
        Err(error) => {
            let missed = Missed { failure: Failure::reset(error), sent: Sent::Unprocessed };
            return Err((missed, Some(body)));
        }
    };
    let mut pump = (!ends).then(|| Pump::new(sender, body));
    let interim = Interim::of(request, progress);
    let started = Instant::now();
    let arrived = poll_fn(|cx| {
        if let Some(pumping) = &mut pump
            && let Poll::Ready(pumped) = Pin::new(pumping).poll(cx)
        {
            if let Pumped::Failed(error) = pumped {
                return Poll::Ready(Err(Failure::RequestBody(error)));
            }
            if pumped == Pumped::Whole {
                pump = None;
            }
        }
        if let Err(failure) = pass_on(&interim, &mut reply, cx) {
            return Poll::Ready(Err(failure));
        }
        match Pin::new(&mut reply).poll(cx) {
            Poll::Ready(reply) => Poll::Ready(Ok(reply)),
            Poll::Pending => super::poll_overdue(cx, alarm, started, progress, waits).map(Err),
        }
    });
    match arrived.await {
        Ok(Ok(reply)) => {
            let response = reply.into_parts();
            let body = Http2Body::new(response.1, &response.0.headers);
            let response = http::Response::from_parts(response.0, Incoming::Http2(body));
            Ok(Arrived { response, sending: pump.map(Sending::on) })
        }
        Ok(Err(error)) => Err(missed(error, stream, pump, ends, sent)),
        Err(failure) => {
            if matches!(failure, Failure::FirstByteTimeout) {
                stream.doubt();
            }
            Err((Missed { failure, sent }, None))
        }
    }
}

/// The request as the endpoint gets it: what `Host` says is `:authority`, and nothing concerns the connection
/// (RFC 9113 8.2.2, 8.3.1).
fn outgoing(request: &FetchRequest, address: Address<'_>, body: &RequestBody) -> Request<()> {
    let mut headers = HeaderMap::with_capacity(request.headers.len() + 3);
    fields(request, &mut headers, body);
    declare(&mut headers, &request.method, body);
    let mut target = Parts::default();
    target.path_and_query = Some(join(address.base_path, &request.target));
    let authority = address.host.to_str().ok().and_then(|host| Authority::from_str(host).ok());
    if authority.is_none() && !address.host.is_empty() {
        // What is no authority is for the origin to judge.
        headers.insert(header::HOST, address.host.clone());
    }
    let named = authority.is_some();
    target.authority = authority;
    target.scheme = Some(if address.scheme == "https" { Scheme::HTTPS } else { Scheme::HTTP });
    let mut outgoing = Request::new(());
    *outgoing.method_mut() = request.method.clone();
    *outgoing.headers_mut() = headers;
    *outgoing.uri_mut() = match Uri::from_parts(target) {
        Ok(uri) if named => uri,
        _ => Uri::from(join(address.base_path, &request.target)),
    };
    outgoing
}

/// The fields that go with the request, framing aside.
fn fields(request: &FetchRequest, headers: &mut HeaderMap, body: &RequestBody) {
    let streams = matches!(body, RequestBody::Stream(_));
    for (name, value) in &request.headers {
        if !super::is_ours(name, streams) {
            headers.append(name.clone(), value.clone());
        }
    }
    if request.expect_continue && streams {
        headers.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
    }
}

/// States the body's length where it is known.
fn declare(headers: &mut HeaderMap, method: &Method, body: &RequestBody) {
    match body {
        RequestBody::Stream(_) => h1::normalise_length(headers),
        RequestBody::Full(bytes) if !bytes.is_empty() => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        }
        // RFC 9110 8.6: said where the method expects content.
        _ if super::expects_content(method) => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        _ => {}
    }
}

fn join(base_path: &str, target: &PathAndQuery) -> PathAndQuery {
    if base_path.is_empty() || !target.as_str().starts_with('/') {
        return target.clone();
    }
    let joined = format!("{base_path}{target}");
    // Both parts were valid, and so is one after the other; the config has checked the base path.
    PathAndQuery::from_maybe_shared(bytes::Bytes::from(joined)).unwrap_or_else(|_| target.clone())
}

/// Passes on what has come before the final reply.
fn pass_on(interim: &Interim<'_>, reply: &mut ResponseFuture, cx: &mut Context<'_>) -> Result<(), Failure> {
    // An error comes again with the final reply.
    while let Poll::Ready(Some(Ok(told))) = reply.poll_informational(cx) {
        // RFC 9113 8.6: there is no such thing in HTTP/2.
        if told.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Failure::InvalidResponse("101 in HTTP/2".into()));
        }
        interim.pass_on(told.status(), told.headers());
    }
    Ok(())
}

/// What it means that a stream, or its connection, ended without a reply.
fn missed(
    error: h2::Error,
    stream: &Stream,
    pump: Option<Pump>,
    bodiless: bool,
    sent: Sent,
) -> (Missed, Option<RequestBody>) {
    let refused = error.is_reset() && error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM);
    if refused {
        stream.refused();
    }
    // h2 tells a stream of a GOAWAY only where it is above the last one that the peer has looked at (RFC 9113 6.8).
    let unprocessed = refused || (error.is_go_away() && error.is_remote());
    let body = pump.and_then(Pump::untouched);
    let elsewhere = error.is_remote() && error.reason() == Some(Reason::HTTP_1_1_REQUIRED);
    let sent = match bodiless || body.is_some() {
        true if elsewhere => Sent::NeedsHttp1,
        true if unprocessed => Sent::Unprocessed,
        _ => sent,
    };
    let failure = match error.is_library() {
        true => Failure::InvalidResponse(error.into()),
        false => Failure::reset(error),
    };
    (Missed { failure, sent }, body.filter(|_| matches!(sent, Sent::Unprocessed | Sent::NeedsHttp1)))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn sent(host: &'static str, given: &[(&'static str, &'static str)], body: RequestBody) -> Request<()> {
        let mut request = FetchRequest::new(Method::GET, PathAndQuery::from_static("/a?b"));
        for (name, value) in given {
            request.headers.append(*name, HeaderValue::from_static(value));
        }
        let address = Address { scheme: "https", host: &HeaderValue::from_static(host), base_path: "/base" };
        outgoing(&request, address, &body)
    }

    #[test]
    fn rfc_9113_8_3_1_host_becomes_the_authority() {
        let given =
            [("te", "trailers"), ("transfer-encoding", "chunked"), ("connection", "x"), ("cookie", "a=1")];
        let request = sent("api.test:8443", &given, RequestBody::Full(Bytes::from_static(b"abc")));
        assert_eq!(request.uri(), "https://api.test:8443/base/a?b");
        let names: Vec<_> = request.headers().keys().map(|name| name.as_str()).collect();
        assert_eq!(names, ["te", "cookie", "content-length"]);
    }

    #[test]
    fn an_asterisk_is_not_joined() {
        let target = PathAndQuery::from_static("*");
        assert_eq!(join("/base", &target), target);
        assert_eq!(join("", &PathAndQuery::from_static("/x?")), "/x?");
    }

    #[test]
    fn what_is_no_authority_stays_what_it_is() {
        let request = sent("no host", &[], RequestBody::Empty);
        assert_eq!(
            (request.uri().to_string().as_str(), &request.headers()["host"]),
            ("/base/a?b", &HeaderValue::from_static("no host"))
        );
    }
}

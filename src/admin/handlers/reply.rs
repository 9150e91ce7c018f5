//! Replies of the admin socket: JSON, text, problems, and streams of JSON lines.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::admin::api::{self, Problem, ProblemCode};

/// The body of a reply; boxed, since admin requests are few.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What a handler hands back.
pub type Reply = Result<Response<Body>, Problem>;

/// A value as JSON.
pub fn json(value: &impl Serialize) -> Reply {
    serialised(StatusCode::OK, "application/json", value)
}

/// A value as JSON with 202: what was asked for has begun.
pub fn accepted(value: &impl Serialize) -> Reply {
    serialised(StatusCode::ACCEPTED, "application/json", value)
}

/// Text of a media type.
pub fn text(media_type: &'static str, text: String) -> Reply {
    Ok(respond(StatusCode::OK, media_type, Full::from(text).boxed_unsync()))
}

/// One JSON object a line, as they come.
pub fn lines<T: Serialize>(lines: impl Stream<Item = T> + Send + 'static) -> Reply {
    let frames = lines.map(|line| Ok(Frame::data(line_of(&line))));
    Ok(respond(StatusCode::OK, api::NDJSON, BodyExt::boxed_unsync(StreamBody::new(frames))))
}

/// A problem (RFC 9457).
pub fn problem(problem: Problem) -> Response<Body> {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    serialised(status, "application/problem+json", &problem).unwrap_or_else(|_| {
        respond(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", Full::from("").boxed_unsync())
    })
}

fn serialised(status: StatusCode, media_type: &'static str, value: &impl Serialize) -> Reply {
    let body = serde_json::to_vec(value).map_err(|error| {
        Problem::new(ProblemCode::Other, "the answer can't be written as JSON").detail(error)
    })?;
    Ok(respond(status, media_type, Full::from(body).boxed_unsync()))
}

fn respond(status: StatusCode, media_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(api::VERSION_HEADER, HeaderValue::from(api::VERSION));
    response
}

/// A line; a value that can't be written becomes an empty one, which readers skip.
fn line_of(value: &impl Serialize) -> Bytes {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

//! Requests that never become one: why, and what their senders are answered.

use bytes::Bytes;
use http::StatusCode;
use uuid::Uuid;

use crate::clock::{Clock, Timestamp};
use crate::http::cache_status::CacheStatus;
use crate::http::h1::Violation;
use crate::http::problem::{self, Problem};
use crate::http::{date, request_id};

/// How a request ended that no handler saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status that was sent; 0 where the connection was closed without one.
    pub status: u16,
    /// Why.
    pub reason: RefusalReason,
}

/// Why a request was refused before it became an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// Its head breaks a rule.
    Violation(Violation),
    /// hyper takes the head for malformed, and the rule is not known (400).
    MalformedHead,
    /// The head was not complete in time (408).
    HeaderTimeout,
    /// The client left in the middle of a head.
    HeadCutShort,
    /// The client speaks TLS where none is spoken.
    TlsToPlain,
    /// The client broke the rules of HTTP/2, which ends the connection (RFC 9113 5.4.1).
    Http2Violation,
    /// The client broke the rules of HTTP/2 on one stream, which was reset (RFC 9113 5.4.2).
    Http2Stream,
    /// The client reset too many requests without waiting for their replies, which ends the connection.
    Http2Resets,
    /// The client sent too many frames that carry nothing, which ends the connection.
    Http2Flood,
}

impl RefusalReason {
    /// The word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Violation(violation) => violation.as_str(),
            Self::MalformedHead => "malformed_head",
            Self::HeaderTimeout => "header_timeout",
            Self::HeadCutShort => "head_cut_short",
            Self::TlsToPlain => "tls_to_plain",
            Self::Http2Violation => "http2_violation",
            Self::Http2Stream => "http2_stream",
            Self::Http2Resets => "http2_resets",
            Self::Http2Flood => "http2_flood",
        }
    }
}

impl Refusal {
    /// Of a head that breaks a rule.
    pub(super) fn of(violation: Violation) -> Self {
        Self { status: violation.status().as_u16(), reason: RefusalReason::Violation(violation) }
    }

    /// Of a head that did not come to its end (RFC 9110 15.5.9).
    pub(super) fn timed_out() -> Self {
        Self { status: 408, reason: RefusalReason::HeaderTimeout }
    }

    /// The reply of the proxy with this name, and the request id in it.
    pub(super) fn reply(self, name: &str) -> (Bytes, Uuid) {
        let now = Clock::System.now();
        let id = request_id::new_id(now);
        (self.reply_at(now, name, &id.to_string()).into(), id)
    }

    fn reply_at(self, now: Timestamp, name: &str, id: &str) -> String {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let title = status.canonical_reason().unwrap_or("Bad Request");
        let why = match self.reason {
            RefusalReason::Violation(violation) => violation.to_string(),
            RefusalReason::HeaderTimeout => "the head did not come to its end in time".into(),
            _ => "the head cannot be read".into(),
        };
        let detail = format!("The connection is closed, since {why}.");
        let body = Problem { title, status: self.status, detail: &detail, request_id: id }.to_bytes();
        let cache_status =
            CacheStatus { detail: Some(self.reason.as_str()), ..CacheStatus::default() }.to_value(name);
        format!(
            "HTTP/1.1 {} {title}\r\ncontent-type: {}\r\ncontent-length: {}\r\ncache-control: no-store\r\nconnection: close\r\n\
             cache-status: {}\r\nx-request-id: {id}\r\ndate: {}\r\n\r\n{}",
            self.status,
            problem::MEDIA_TYPE,
            body.len(),
            String::from_utf8_lossy(cache_status.as_bytes()),
            String::from_utf8_lossy(&date::format(now)),
            String::from_utf8_lossy(&body),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_problem_that_ends_the_connection() {
        let expected = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: 124\r\n\
             cache-control: no-store\r\nconnection: close\r\ncache-status: edge; detail=folded_line\r\nx-request-id: 0190\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n\
             {\"title\":\"Bad Request\",\"status\":400,\"detail\":\"The connection is closed, since a field line is folded.\",\"request_id\":\"0190\"}\n";
        let refusal = Refusal::of(Violation::FoldedLine);
        assert_eq!(refusal.reply_at(Timestamp::from_secs(0), "edge", "0190"), expected);
        assert_eq!(refusal.reason.as_str(), "folded_line");
    }
}

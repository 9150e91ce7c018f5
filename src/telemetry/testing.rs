//! An exchange for tests.

use std::time::Duration;

use uuid::Uuid;

use super::event::{CacheOutcome, End, Finished, Protocol, RequestId, Series};
use crate::clock::Timestamp;

/// An exchange in which nothing went wrong.
pub(super) fn finished() -> Finished {
    Finished {
        session: None,
        id: RequestId::Own(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001)),
        at: Timestamp::from_millis(1_700_000_000_123),
        duration: Duration::from_micros(12_345),
        first_byte: Duration::from_micros(11_000),
        client: "192.0.2.7".parse().unwrap(),
        protocol: Protocol::Http11,
        method: http::Method::GET,
        host: "api.example.com".into(),
        target: "/v1/users?page=2".into(),
        status: 200,
        route: Some("users".into()),
        series: Series::default(),
        upstream: Some("api".into()),
        endpoint: Some("10.0.0.1:8080".into()),
        attempts: 1,
        upstream_first_byte: Some(Duration::from_micros(10_500)),
        cache: CacheOutcome::Miss,
        received: 0,
        sent: 1234,
        end: End::Complete,
        lasting: false,
        error: None,
        limit: None,
        user: None,
        limit_dry_run: None,
        caching: Default::default(),
        reply: None,
    }
}

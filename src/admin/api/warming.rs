//! Warming and refreshing: requests of the instance's own, and what came of each.

use serde::{Deserialize, Serialize};

use super::Selector;

/// Asks the instance to request URLs of itself, as a client would.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warm {
    /// The URLs, as clients would write them.
    pub urls: Vec<String>,
    /// How.
    #[serde(flatten)]
    pub pace: Pace,
}

/// Asks the instance to have stored responses validated or fetched anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refresh {
    /// Which.
    pub select: Selector,
    /// How.
    #[serde(flatten)]
    pub pace: Pace,
}

/// How requests of the instance's own are made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Fields that each has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// How many at a time, at most 256; absent: 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// How many a second; absent: as fast as it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
}

/// Asks for the reply to one URL, for who reads it himself (a sitemap).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchQuery {
    /// The URL, as clients would write it.
    pub url: String,
}

/// A line of the stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum WarmLine {
    /// What came of one request.
    Done(Box<Warmed>),
    /// All have been made.
    End {
        /// How many there were.
        asked: u64,
    },
}

/// What came of one request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Warmed {
    /// The URL.
    pub url: String,
    /// Warming: `hit` (fresh already), `stored`, `not-stored`, `failed`. Refreshing: `unchanged`, `changed`, `not-stored`
    /// (what the origin says now may not be stored), `skipped` (the request cannot be made), `failed`.
    pub result: String,
    /// Why, where there is more to say: what `Cache-Status` says, the kind of failure, fields that are needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What the cache did, as in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
    /// Bytes of the body.
    pub bytes: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: f64,
}

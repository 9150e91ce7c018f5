//! Time that stands still until a test moves it.

use std::time::Duration;

use proxy_stone::clock::{Clock, Timestamp};
use proxy_stone::http::date;

/// When tests with a clock of their own begin, in seconds since the Unix epoch.
const NOON: u64 = 1_800_000_000;

/// A clock that stands until it is moved.
pub fn noon() -> Clock {
    Clock::manual(Timestamp::from_secs(NOON))
}

/// Moves a clock forward by whole seconds.
pub fn pass(clock: &Clock, seconds: u64) {
    clock.advance(Duration::from_secs(seconds));
}

/// An HTTP date so many seconds from where [`noon`] stands.
pub fn http_date(offset: i64) -> String {
    let at = Timestamp::from_secs(NOON.saturating_add_signed(offset));
    String::from_utf8_lossy(&date::format(at)).into_owned()
}

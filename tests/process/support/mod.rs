//! What the tests stand on: places of their own, the proxy as a child, a client and an origin over plain sockets.

mod client;
mod load;
mod origin;
mod place;
mod proxy;

use std::time::{Duration, Instant};

pub use client::{Client, Reply, get};
pub use load::{Aim, Load};
pub use origin::{Answer, Asked, Gate, Origin};
pub use place::{Output, Place, finish};
pub use proxy::{Proxy, code};

/// The longest that anything here may take; the machine may be busy.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Asks again and again until there is an answer: for what another process gives no notice of.
#[track_caller]
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < LIMIT, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether this process may do what only root may.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says why a test shows nothing here.
pub fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

//! How often something may be asked for: pure arithmetic of rates (`rate`), and the bounded table of who has asked how
//! often (`table`), one for all workers.
//!
//! ```text
//! pipeline ─ who asks, as a keyed hash ─▶ Limiter::take ─▶ Taken { allowed, remaining, reset, retry }
//!                                            │ one shard's lock
//!                                            ▼
//!                           entry of this key ─▶ rate (GCRA, fixed or sliding window)
//! ```
//!
//! A [`Limiter`] belongs to one policy of the config and outlives reloads that leave its [`Settings`] as they are. This
//! room never looks at a request: whose request it is, and what is answered, the pipeline says.
//!
//! **When the table is full.** A new key takes the place of one whose quota is whole again (forgetting that one changes
//! nothing); else of the one with the most left among those looked at, if it has used no more than half of its quota.
//! Who has used more is never forgotten, so that nobody who is limited gets free by sending from many addresses. If all
//! that are looked at have, the new key shares one quota with all others that find no place in its shard.
//!
//! [`Limiter`]: crate::limit::Limiter
//! [`Settings`]: crate::limit::Settings

mod limiter;
mod rate;
mod table;

pub use limiter::{Counts, Limiter, Settings, Standing};
pub use rate::{Algorithm, Quota, Taken};
pub use table::Label;

/// The most requests of a rate or a burst: with it all arithmetic stays within 64 bits for some 500 years.
pub const MAX_REQUESTS: u32 = 1_000_000;

/// The longest window, in days.
pub const MAX_WINDOW_DAYS: u64 = 31;

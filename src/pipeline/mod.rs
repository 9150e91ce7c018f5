//! One exchange from request head to finished reply, in the order one screen shows.

mod forward;
pub mod settings;

pub use settings::{CacheSettings, RouteSettings, Settings};

//! The messages of the admin socket, one set of types for the server and the CLI.
//!
//! Field names are part of the interface: `-o json` prints them as they are. A field may be added within one
//! [`VERSION`]; none changes its meaning or goes away.

mod problem;
mod route;
mod status;

pub use problem::{Problem, ProblemCode};
pub use route::{Route, RouteTest, RouteTestReply, RouteVerdict};
pub use status::{Connections, ListenerStatus, ReloadReport, State, Status, Stop, Stopping, StoreStatus};

/// The version of this interface, in its paths and in [`VERSION_HEADER`].
pub const VERSION: u32 = 1;

/// The reply field that names the interface's version.
pub const VERSION_HEADER: &str = "proxy-stone-api";

/// The media type of a stream of JSON objects, one a line.
pub const NDJSON: &str = "application/x-ndjson";

/// The paths of the interface.
pub mod path {
    /// GET: [`Status`](super::Status).
    pub const STATUS: &str = "/v1/status";
    /// POST: [`ReloadReport`](super::ReloadReport), or a problem of code `config`.
    pub const RELOAD: &str = "/v1/reload";
    /// POST [`Stop`](super::Stop): [`Stopping`](super::Stopping).
    pub const STOP: &str = "/v1/stop";
    /// GET: a list of [`Route`](super::Route).
    pub const ROUTES: &str = "/v1/routes";
    /// POST [`RouteTest`](super::RouteTest): [`RouteTestReply`](super::RouteTestReply).
    pub const ROUTE_TEST: &str = "/v1/routes/test";

    /// Every path there is.
    pub const ALL: &[&str] = &[STATUS, RELOAD, STOP, ROUTES, ROUTE_TEST];
}

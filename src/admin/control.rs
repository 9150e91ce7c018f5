//! What the running instance must be able to do for the admin socket.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::pipeline::Proxy;

use super::api::{
    CertificateRow, Drain, Draining, Explain, Explanation, PastExplanation, Problem, ReloadReport, Route,
    RouteTest, RouteTestReply, Status, Upgrade, UpgradeLine,
};

/// A boxed future: admin requests are few, so that a box costs nothing that matters.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The running instance, as the admin socket sees it.
pub trait Control: Send + Sync + 'static {
    /// How the instance is doing.
    fn status(&self) -> Status;

    /// Why the instance isn't ready for clients; `None` when it is.
    fn not_ready(&self) -> Option<String>;

    /// Reads the config again and swaps to it if every check passes.
    fn reload(&self) -> Boxed<'_, Result<ReloadReport, Refused>>;

    /// Starts to stop: no new connections, what is in flight may take `grace` (the config's where `None`).
    /// Returns at once.
    fn stop(&self, grace: Option<Duration>);

    /// Starts to drain: not ready at once, accepting for a while, then as [`stop`](Self::stop). Returns at once.
    fn drain(&self, drain: Drain) -> Draining;

    /// Starts a new process that takes over, and tells of each step; `Err` where it cannot even begin.
    fn upgrade(&self, asked: Upgrade) -> Result<mpsc::UnboundedReceiver<UpgradeLine>, Box<Problem>>;

    /// Takes a drain back; `None` when it is too late, or there is none.
    fn stay(&self) -> Option<Draining>;

    /// The routes in order of precedence.
    fn routes(&self) -> Vec<Route>;

    /// Which route would take a request, and why the others would not; `Err` says what is wrong with the
    /// request that was given.
    fn test_route(&self, test: &RouteTest) -> Result<RouteTestReply, String>;

    /// The certificates that clients are shown.
    fn certificates(&self) -> Vec<CertificateRow>;

    /// What answers its clients, to be asked by the instance itself; `None` where there is nothing.
    fn proxy(&self) -> Option<Arc<Proxy>>;

    /// What would happen to a request now, and why; nothing is fetched or changed.
    fn explain<'a>(&'a self, asked: &'a Explain) -> Boxed<'a, Result<Explanation, Box<Problem>>>;

    /// What was decided for a finished exchange with this id, if it is remembered.
    fn explain_past<'a>(&'a self, id: &'a str) -> Boxed<'a, Result<PastExplanation, Box<Problem>>>;
}

/// A config that was not taken over; the old one goes on serving.
#[derive(Clone, Debug, Default)]
pub struct Refused {
    /// The findings as `config lint -o json` prints them.
    pub findings: Vec<serde_json::Value>,
    /// The findings as `config lint` prints them, without colour.
    pub rendered: String,
}

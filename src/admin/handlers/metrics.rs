//! Metrics: one snapshot, many, or as OpenMetrics text.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::time::MissedTickBehavior;

use super::Admin;
use super::reply::{self, Reply};
use super::request::Asked;
use crate::admin::api::WatchQuery;

/// The shortest time between two snapshots of a stream.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// The longest.
const MAX_INTERVAL: Duration = Duration::from_secs(3600);

/// All counters now.
pub fn snapshot(admin: &Admin) -> Reply {
    reply::json(&admin.telemetry.snapshot())
}

/// All counters, again and again; the first at once.
pub fn watch(admin: &Arc<Admin>, asked: &Asked) -> Reply {
    let wanted: WatchQuery = asked.query()?;
    let interval =
        Duration::from_millis(wanted.interval_ms.unwrap_or(1000)).clamp(MIN_INTERVAL, MAX_INTERVAL);
    let mut ticks = tokio::time::interval(interval);
    // A reader that was slow needs no burst of snapshots that hardly differ.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let telemetry = Arc::clone(&admin.telemetry);
    let snapshots = stream::unfold((ticks, telemetry), |(mut ticks, telemetry)| async move {
        ticks.tick().await;
        let snapshot = telemetry.snapshot();
        Some((snapshot, (ticks, telemetry)))
    });
    reply::lines(snapshots.take_until(admin.closing.clone().cancelled_owned()))
}

/// All counters now, for Prometheus and its kin.
pub fn openmetrics(admin: &Admin) -> Reply {
    reply::text("application/openmetrics-text; version=1.0.0; charset=utf-8", admin.telemetry.openmetrics())
}

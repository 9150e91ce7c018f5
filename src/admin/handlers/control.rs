//! The instance itself: status, reload, stop, routes, upstreams.

use std::time::Duration;

use futures_util::stream;

use super::Admin;
use super::reply::{self, Reply};
use super::request::Asked;
use crate::admin::api::{
    Drain, EndpointRow, Explain, PastQuery, Problem, ProblemCode, RouteTest, Stop, Stopping, Upgrade,
};
use crate::upstream::snapshot::UpstreamSnapshot;

/// How the instance is doing.
pub fn status(admin: &Admin) -> Reply {
    reply::json(&admin.control.status())
}

/// Takes the config over again, or says what is wrong with it.
pub async fn reload(admin: &Admin) -> Reply {
    match admin.control.reload().await {
        Ok(report) => reply::json(&report),
        Err(refused) => {
            let mut problem =
                Problem::new(ProblemCode::Config, "the config has errors; the old one goes on serving");
            problem.findings = refused.findings;
            problem.rendered = Some(refused.rendered).filter(|text| !text.is_empty());
            Err(problem)
        }
    }
}

/// Begins to stop, and answers before it is over.
pub fn stop(admin: &Admin, asked: &Asked) -> Reply {
    let stop: Stop = asked.json()?;
    let status = admin.control.status();
    admin.control.stop(stop.grace_ms.map(Duration::from_millis));
    reply::accepted(&Stopping { pid: status.pid, in_flight: status.connections.in_flight })
}

/// Begins to drain, and answers before it is over.
pub fn drain(admin: &Admin, asked: &Asked) -> Reply {
    let drain: Drain = asked.json()?;
    reply::accepted(&admin.control.drain(drain))
}

/// Has a new process take over, and tells of each step.
pub fn upgrade(admin: &Admin, asked: &Asked) -> Reply {
    let wanted: Upgrade = asked.json()?;
    let steps = admin.control.upgrade(wanted).map_err(|problem| *problem)?;
    reply::lines(stream::unfold(steps, async |mut steps| Some((steps.recv().await?, steps))))
}

/// Takes a drain back.
pub fn stay(admin: &Admin) -> Reply {
    let none = || {
        Problem::new(ProblemCode::NotFound, "there is no drain to take back")
            .detail("it has not begun, or the instance has stopped accepting")
            .help("proxy-stone status")
    };
    reply::json(&admin.control.stay().ok_or_else(none)?)
}

/// The routes.
pub fn routes(admin: &Admin) -> Reply {
    reply::json(&admin.control.routes())
}

/// Which route would take a request.
pub fn test_route(admin: &Admin, asked: &Asked) -> Reply {
    let test: RouteTest = asked.json()?;
    let reply = admin
        .control
        .test_route(&test)
        .map_err(|why| Problem::new(ProblemCode::BadRequest, "that can't be a request").detail(why))?;
    reply::json(&reply)
}

/// What would happen to a request.
pub async fn explain(admin: &Admin, asked: &Asked) -> Reply {
    let wanted: Explain = asked.json()?;
    let explanation = admin.control.explain(&wanted).await.map_err(|problem| *problem)?;
    reply::json(&explanation)
}

/// What was decided for an exchange that is over.
pub async fn explain_past(admin: &Admin, asked: &Asked) -> Reply {
    let wanted: PastQuery = asked.query()?;
    let explanation = admin.control.explain_past(&wanted.id).await.map_err(|problem| *problem)?;
    reply::json(&explanation)
}

/// The endpoints of every upstream.
pub fn upstreams(admin: &Admin) -> Reply {
    let rows: Vec<EndpointRow> =
        admin.upstreams.all().iter().flat_map(|upstream| endpoints(upstream.snapshot())).collect();
    reply::json(&rows)
}

fn endpoints(snapshot: UpstreamSnapshot) -> impl Iterator<Item = EndpointRow> {
    let upstream = snapshot.name;
    snapshot.endpoints.into_iter().map(move |endpoint| EndpointRow {
        upstream: upstream.to_string(),
        endpoint: format!("{}://{}", if endpoint.tls { "https" } else { "http" }, endpoint.endpoint),
        state: endpoint.state.as_str().to_owned(),
        weight: endpoint.weight,
        backup: endpoint.backup,
        in_use: endpoint.in_use(),
        idle: endpoint.idle,
        http2: endpoint.http2_connections,
        streams: endpoint.streams,
        pending: endpoint.pending,
        requests: endpoint.requests,
        failures: endpoint.failures,
        reused: endpoint.reused,
        connects: endpoint.connects,
        connect_failures: endpoint.connect_failures,
        last_error: endpoint.last_error.map(str::to_owned),
        addresses: endpoint.addresses.iter().map(ToString::to_string).collect(),
    })
}

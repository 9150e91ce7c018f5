//! The instance itself: status, reload, stop, routes.

use std::time::Duration;

use super::Admin;
use super::reply::{self, Reply};
use super::request::Asked;
use crate::admin::api::{Problem, ProblemCode, RouteTest, Stop, Stopping};

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

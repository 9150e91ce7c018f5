//! Answers admin requests: finds the handler, reads the body under a cap, writes JSON.

mod control;
pub mod reply;
mod request;

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, Response};

use super::Control;
use super::api::{Problem, ProblemCode, path};
use reply::{Body, Reply};
use request::Asked;

/// The rooms that the handlers ask.
pub struct Admin {
    /// The instance itself.
    pub control: Arc<dyn Control>,
}

/// Answers one request. `allowed`: the peer is this user or root.
pub async fn answer(admin: Arc<Admin>, request: Request<Incoming>, allowed: bool) -> Response<Body> {
    if !allowed {
        let problem =
            Problem::new(ProblemCode::Denied, "the admin socket answers its own user and root only");
        return reply::problem(problem);
    }
    let asked = match Asked::read(request).await {
        Ok(asked) => asked,
        Err(problem) => return reply::problem(problem),
    };
    dispatch(&admin, &asked).await.unwrap_or_else(reply::problem)
}

async fn dispatch(admin: &Arc<Admin>, asked: &Asked) -> Reply {
    let get = asked.method == Method::GET;
    let post = asked.method == Method::POST;
    match asked.path.as_str() {
        path::STATUS if get => control::status(admin),
        path::RELOAD if post => control::reload(admin).await,
        path::STOP if post => control::stop(admin, asked),
        path::ROUTES if get => control::routes(admin),
        path::ROUTE_TEST if post => control::test_route(admin, asked),
        known if path::ALL.contains(&known) => Err(Problem::new(
            ProblemCode::MethodNotAllowed,
            format!("{} is not a method of {known}", asked.method),
        )),
        other => Err(Problem::new(ProblemCode::NotFound, format!("there is no {other} in this version"))),
    }
}

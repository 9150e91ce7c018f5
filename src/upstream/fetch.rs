//! A fetch: attempts at endpoints until one answers or none may be tried any more.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::{HeaderValue, Response, StatusCode};

use super::alarm::Alarm;
use super::asking::Begun;
use super::balance::Balance;
use super::body::{BodyProgress, Driven, Incoming, Lease, RequestBody, UpstreamBody};
use super::connect::{Conn, Switched};
use super::endpoint::Endpoint;
use super::error::{Failure, FetchError};
use super::exchange::{self, Address, Arrived, Terms, Waits};
use super::request::{FetchRequest, Fetched, OriginName};
use super::retry::{self, Missed, Next, Sent};
use super::settings::{EndpointSettings, HostPolicy, Settings};
use super::snapshot::UpstreamSnapshot;
use crate::http::connection::TrailerRules;

/// A group of endpoints that serve the same thing.
#[derive(Debug)]
pub struct Upstream {
    pub(super) settings: Settings,
    pub(super) members: Vec<Member>,
    pub(super) balance: Balance,
}

/// An endpoint, and how this upstream speaks to it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) host: HeaderValue,
    pub(super) origin: Arc<OriginName>,
    /// See [`Upstream::numbered`].
    pub(super) number: OnceLock<u32>,
}

/// A request that cannot be sent again takes no connection that was unused for longer, if it can have a new one: origins
/// close what is idle, some after few seconds.
const RESTED: Duration = Duration::from_secs(1);

/// How often a request is sent again that its endpoint says it has not looked at.
const AGAIN: u32 = 8;

/// What a successful attempt leaves.
struct Attempt {
    arrived: Arrived,
    conn: Conn,
    progress: Option<Arc<BodyProgress>>,
    /// How long the reply's head took.
    first_byte: Duration,
}

/// How far a fetch has come.
struct Course {
    attempts: u32,
    again: u32,
    retries: u32,
    tried: Vec<usize>,
    /// How long the connection to be used may have been unused.
    unused: Duration,
    /// It is to be one of HTTP/1.1, whatever the endpoint speaks otherwise.
    over_http1: bool,
}

impl Upstream {
    /// One without endpoints, for who needs an upstream and never asks it: every fetch fails.
    pub fn nobody() -> Arc<Self> {
        let settings = Settings { endpoints: Vec::new(), ..Settings::new("", EndpointSettings::default()) };
        Arc::new(Self { settings, members: Vec::new(), balance: Balance::new(&[]) })
    }

    /// What it was told.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Counters and states at this moment.
    pub fn snapshot(&self) -> UpstreamSnapshot {
        let endpoints = self.members.iter().zip(&self.settings.endpoints);
        UpstreamSnapshot {
            name: Arc::clone(&self.settings.name),
            endpoints: endpoints.map(|(member, settings)| member.endpoint.snapshot(settings)).collect(),
        }
    }

    /// The number by which the caller knows the endpoint of this name: looked up once, and then remembered here.
    pub fn numbered(&self, endpoint: &Arc<str>, look_up: impl FnOnce() -> u32) -> u32 {
        match self.members.iter().find(|member| Arc::ptr_eq(&member.endpoint.name, endpoint)) {
            Some(member) => *member.number.get_or_init(look_up),
            None => look_up(),
        }
    }

    /// Sends the request to one of the endpoints and waits for the reply's head. Dropping the future cancels
    /// the request and closes its connection, as does dropping the reply's body before its end.
    pub async fn fetch(&self, mut request: FetchRequest) -> Result<Fetched, FetchError> {
        settle_body(&mut request.body);
        let replayable = request.body.is_replayable();
        let mut alarm = Alarm::default();
        let repeatable = (request.repeatable || request.method.is_idempotent()) && replayable;
        let mut course = Course::new(repeatable);
        course.over_http1 = request.upgrade.is_some();
        let mut last: Option<(usize, Failure)> = None;
        let (mut turn, mut failed) = request.begun.take().map_or((None, None), Begun::into_parts);
        loop {
            let now = Instant::now();
            let turn = turn.take().filter(|index| *index < self.members.len());
            let Some(index) = turn.or_else(|| self.pick(&course.tried, now)) else {
                return Err(self.give_up(&course, last));
            };
            course.attempts += 1;
            let attempt = match failed.take() {
                Some(missed) => Err(missed),
                None => self.attempt(index, &mut request, &course, now, &mut alarm).await,
            };
            let missed = match attempt {
                Ok(Attempt { arrived, conn, progress, first_byte }) => {
                    let (response, switched) =
                        self.receive(index, arrived, conn, progress, alarm, request.deadline);
                    return Ok(self.fetched(index, response, switched, course.attempts, first_byte));
                }
                Err(missed) => missed,
            };
            let next = retry::next(&missed, repeatable);
            last = Some((index, missed.failure));
            if !course.follow(next, index, self.settings.retries) || is_past(request.deadline) {
                return Err(self.give_up(&course, last));
            }
        }
    }

    pub(super) fn pick(&self, tried: &[usize], now: Instant) -> Option<usize> {
        self.balance.pick(tried, |index| {
            self.members.get(index).is_some_and(|member| member.endpoint.reachability.admits(now))
        })
    }

    async fn attempt(
        &self,
        index: usize,
        request: &mut FetchRequest,
        course: &Course,
        now: Instant,
        alarm: &mut Alarm,
    ) -> Result<Attempt, Missed> {
        let member = &self.members[index];
        let endpoint = &*member.endpoint;
        endpoint.addresses.touch(now);
        let patience = self.settings.connect_timeout;
        let connected = match course.over_http1 {
            false => endpoint.connection(course.unused, now, patience, request.deadline).await,
            // Boxed: rare.
            true => Box::pin(endpoint.connection_aside(now, patience, request.deadline)).await,
        };
        let (mut conn, reused) = connected.map_err(|failure| {
            endpoint.counters.failed(failure.as_str());
            let failure = if is_past(request.deadline) { Failure::Deadline } else { failure };
            Missed { failure, sent: Sent::Nothing }
        })?;

        if !alarm.is_set() {
            *alarm = conn.take_alarm();
        }
        let body = request.body.replay().unwrap_or_else(|| std::mem::take(&mut request.body));
        let progress = match &body {
            RequestBody::Stream(stream) => Some(stream.progress()),
            _ => None,
        };
        if let Some(gate) = progress.as_ref().filter(|_| request.expect_continue) {
            gate.close_gate();
        }
        let address = Address {
            scheme: member.origin.scheme,
            host: self.host_for(member, &request.client_host),
            base_path: &self.settings.base_path,
        };
        endpoint.counters.requests.fetch_add(1, Ordering::Relaxed);
        endpoint.counters.reused.fetch_add(u64::from(reused), Ordering::Relaxed);
        let sent = if reused { Sent::Reused } else { Sent::Fresh };
        let waits = Waits { first_byte: self.settings.first_byte_timeout, deadline: request.deadline };
        let started = Instant::now();
        let terms = Terms { progress: progress.as_ref(), sent, waits, alarm };
        match exchange::exchange(&mut conn, request, address, body, terms).await {
            Ok(arrived) => Ok(Attempt { arrived, conn, progress, first_byte: started.elapsed() }),
            Err((missed, unwritten)) => {
                if !matches!(missed.failure, Failure::RequestBody(_)) {
                    endpoint.counters.failed(missed.failure.as_str());
                }
                if let Some(body) = unwritten {
                    request.body = body;
                }
                Err(missed)
            }
        }
    }

    pub(super) fn host_for<'a>(&'a self, member: &'a Member, client: &'a HeaderValue) -> &'a HeaderValue {
        match &self.settings.host {
            HostPolicy::Upstream => &member.host,
            HostPolicy::Client if client.is_empty() => &member.host,
            HostPolicy::Client => client,
            HostPolicy::Fixed(name) => name,
        }
    }

    /// Puts the body in its place: at its end the connection goes back to the pool.
    pub(super) fn receive(
        &self,
        index: usize,
        arrived: Arrived,
        conn: Conn,
        progress: Option<Arc<BodyProgress>>,
        alarm: Alarm,
        deadline: Option<Instant>,
    ) -> (Response<UpstreamBody>, Option<Box<Switched>>) {
        if let Some(progress) = &progress {
            progress.shut_gate();
        }
        let Arrived { response, sending } = arrived;
        let conn = match conn {
            Conn::Http1(conn) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                let switched = Box::new(conn.into_switched());
                return (response.map(|_| UpstreamBody::switched()), Some(switched));
            }
            conn => conn,
        };
        let endpoint = Arc::clone(&self.members[index].endpoint);
        let (driven, conn) = match conn {
            Conn::Http1(conn) if !conn.is_sent() && !conn.is_read() => {
                (Some(Incoming::Driven(Driven::on(conn, Arc::clone(&endpoint)))), None)
            }
            conn => (None, Some(conn)),
        };
        let lease = Lease::new(conn, endpoint, progress, sending);
        let trailers = TrailerRules::of(response.headers());
        let idle = self.settings.idle_timeout;
        let body =
            |incoming| UpstreamBody::new(driven.unwrap_or(incoming), trailers, lease, alarm, idle, deadline);
        (response.map(body), None)
    }

    pub(super) fn fetched(
        &self,
        index: usize,
        response: Response<UpstreamBody>,
        switched: Option<Box<Switched>>,
        attempts: u32,
        first_byte: Duration,
    ) -> Fetched {
        let member = &self.members[index];
        let endpoint = Arc::clone(&member.endpoint.name);
        Fetched { response, switched, endpoint, origin: Arc::clone(&member.origin), attempts, first_byte }
    }

    fn give_up(&self, course: &Course, last: Option<(usize, Failure)>) -> FetchError {
        // An upstream of the config has at least one endpoint, so something was tried.
        let (index, failure) =
            last.map_or((None, Failure::QueueFull), |(index, failure)| (Some(index), failure));
        let member = index.and_then(|index| self.members.get(index));
        let endpoint = member.map(|member| Arc::clone(&member.endpoint.name));
        tracing::debug!(upstream = %self.settings.name, attempts = course.attempts, %failure, "fetch failed");
        FetchError { failure, endpoint, attempts: course.attempts }
    }
}

impl Course {
    /// What can be sent again may meet a connection that its origin is closing just now; anything else is kept away from
    /// those that have rested for a while (RFC 9112 9.5).
    fn new(can_be_sent_again: bool) -> Self {
        let unused = if can_be_sent_again { Duration::MAX } else { RESTED };
        Self { attempts: 0, again: 0, retries: 0, tried: Vec::new(), unused, over_http1: false }
    }

    /// Whether there is another attempt.
    fn follow(&mut self, next: Next, index: usize, budget: u32) -> bool {
        match next {
            Next::Stop => return false,
            Next::Same => {
                // Nothing was asked. Each such round uses up a kept connection, so there is an end to it.
                self.attempts -= 1;
                return true;
            }
            Next::Again => {
                self.again += 1;
                return self.again <= AGAIN;
            }
            Next::OverHttp1 => {
                return !std::mem::replace(&mut self.over_http1, true);
            }
            Next::Renewed => self.unused = Duration::ZERO,
            Next::Elsewhere => self.tried.push(index),
        }
        self.retries += 1;
        self.retries <= budget
    }
}

/// A stream that has nothing to come is no stream.
fn settle_body(body: &mut RequestBody) {
    if http_body::Body::is_end_stream(body) {
        *body = RequestBody::Empty;
    }
}

fn is_past(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

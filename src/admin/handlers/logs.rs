//! Finished exchanges: those that are remembered, and those to come.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::stream::{self, Stream, StreamExt};

use super::Admin;
use super::reply::{self, Reply};
use super::request::{Asked, filter};
use crate::admin::api::{LogLine, LogQuery};
use crate::clock::Timestamp;
use crate::telemetry::filter::Filter;
use crate::telemetry::{Finished, Followed, Follower, LogRecord, Query};

/// A stream of exchanges, oldest first.
pub fn logs(admin: &Arc<Admin>, asked: &Asked) -> Reply {
    let wanted: LogQuery = asked.query()?;
    let filter = wanted.filter.as_deref().map(filter::<Finished>).transpose()?;
    // Following begins before looking back, so that nothing falls between; what both have is told once.
    let follower = wanted.follow.then(|| admin.telemetry.follow());
    let recent = admin.telemetry.recent(&Query {
        since: wanted.since_ms.map(Timestamp::from_millis),
        until: wanted.until_ms.map(Timestamp::from_millis),
        filter: filter.clone(),
        limit: wanted.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
    });
    let told: HashSet<usize> = match &follower {
        Some(_) => recent.iter().map(address).collect(),
        None => HashSet::new(),
    };
    let past = recent.into_iter();
    let Some(follower) = follower else {
        return reply::lines(stream::iter(past.map(|finished| line(&finished))));
    };
    // `held` keeps the remembered exchanges alive, so that no new one can stand at the address of an old one.
    let held: Vec<Arc<Finished>> = past.collect();
    let past = stream::iter(held.clone()).map(|finished| line(&finished));
    let future = follow(follower, filter, told, held);
    let closing = admin.closing.clone();
    reply::lines(past.chain(future).take_until(closing.cancelled_owned()))
}

/// Exchanges as they finish.
fn follow(
    follower: Follower,
    filter: Option<Filter>,
    told: HashSet<usize>,
    held: Vec<Arc<Finished>>,
) -> impl Stream<Item = LogLine> + Send {
    stream::unfold((follower, filter, told, held), |(mut follower, filter, mut told, mut held)| async move {
        loop {
            match follower.next().await? {
                Followed::Missed(missed) => {
                    return Some((LogLine::Missed { missed }, (follower, filter, told, held)));
                }
                Followed::Exchange(finished) if told.contains(&address(&finished)) => {}
                Followed::Exchange(finished) => {
                    // The first that is new: from here on all are.
                    told = HashSet::new();
                    held = Vec::new();
                    if filter.as_ref().is_none_or(|filter| filter.matches(&*finished)) {
                        return Some((line(&finished), (follower, filter, told, held)));
                    }
                }
            }
        }
    })
}

fn address(finished: &Arc<Finished>) -> usize {
    Arc::as_ptr(finished) as usize
}

fn line(finished: &Finished) -> LogLine {
    LogLine::Exchange(Box::new(LogRecord::from(finished)))
}

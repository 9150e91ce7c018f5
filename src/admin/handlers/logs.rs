//! Finished exchanges: those that are remembered, and those to come.

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
    let query = Query {
        since: wanted.since_ms.map(Timestamp::from_millis),
        until: wanted.until_ms.map(Timestamp::from_millis),
        filter: filter.clone(),
        limit: wanted.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
    };
    let told = |recent: Vec<Arc<Finished>>| stream::iter(recent).map(|finished| line(&finished));
    if !wanted.follow {
        return reply::lines(told(admin.telemetry.recent(&query)));
    }
    let (recent, follower) = admin.telemetry.recent_and_follow(&query);
    let closing = admin.closing.clone();
    reply::lines(told(recent).chain(follow(follower, filter)).take_until(closing.cancelled_owned()))
}

/// Exchanges as they finish.
fn follow(follower: Follower, filter: Option<Filter>) -> impl Stream<Item = LogLine> + Send {
    stream::unfold((follower, filter), |(mut follower, filter)| async move {
        loop {
            match follower.next().await? {
                Followed::Missed(missed) => return Some((LogLine::Missed { missed }, (follower, filter))),
                Followed::Exchange(finished) => {
                    if filter.as_ref().is_none_or(|filter| filter.matches(&*finished)) {
                        return Some((line(&finished), (follower, filter)));
                    }
                }
            }
        }
    })
}

fn line(finished: &Finished) -> LogLine {
    LogLine::Exchange(Box::new(LogRecord::from(finished)))
}

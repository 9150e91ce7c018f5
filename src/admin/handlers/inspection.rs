//! Walks over everything that is stored, told as they go.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;

use super::Admin;
use super::reply::{self, Reply};
use super::request::Asked;
use crate::admin::api::{
    Gc, InspectionLine, InspectionProgress, Problem, ProblemCode, Reclaimed, StoreFault, Verify,
};
use crate::cache::key::Digest;
use crate::cache::store::{self, FaultKind, Found, Inspected, Inspection};

/// Looks for damage.
pub fn verify(admin: &Arc<Admin>, asked: &Asked) -> Reply {
    let Verify { repair, rate } = asked.json()?;
    walk(admin, Inspection::Verify { repair, rate: rate.filter(|rate| *rate > 0) }, false)
}

/// Removes what is of no more use.
pub fn gc(admin: &Arc<Admin>, asked: &Asked) -> Reply {
    let Gc { dry_run, quarantines_older_ms } = asked.json()?;
    let quarantines = quarantines_older_ms.map(Duration::from_millis);
    walk(admin, Inspection::Gc { dry_run, quarantines }, dry_run)
}

fn walk(admin: &Arc<Admin>, how: Inspection, dry_run: bool) -> Reply {
    let state = admin.cache.state();
    if !state.is_open() {
        return Err(Problem::new(ProblemCode::Unavailable, "the disk store is not open")
            .detail(format!("it is {state}"))
            .help("proxy-stone cache stats"));
    }
    let Some(events) = admin.cache.inspect(how) else {
        return Err(Problem::new(ProblemCode::Unavailable, "the store is being looked through already")
            .detail("cache verify and cache gc run one at a time")
            .help("the same command when the other one has ended"));
    };
    let closing = admin.closing.clone();
    reply::lines(stream::unfold((events, closing), move |(mut events, closing)| async move {
        tokio::select! {
            event = events.recv() => event.map(|event| (line(event, dry_run), (events, closing))),
            () = closing.cancelled() => None,
        }
    }))
}

fn line(event: Inspected, dry_run: bool) -> InspectionLine {
    match event {
        Inspected::Progress(at) => InspectionLine::Progress(progress(at)),
        Inspected::Found(found) => InspectionLine::Found(fault(&found)),
        Inspected::Done(at, all) => {
            InspectionLine::Done { progress: progress(at), reclaimed: reclaimed(&all, dry_run) }
        }
        Inspected::Failed(message) => InspectionLine::Failed { message },
    }
}

const fn progress(at: store::Progress) -> InspectionProgress {
    InspectionProgress { entries: at.entries, of: at.of, bodies: at.bodies, bytes: at.bytes }
}

fn fault(found: &Found) -> StoreFault {
    StoreFault {
        fault: found.kind.word().to_owned(),
        message: message(found.kind).to_owned(),
        key: found.id.map(|id| id.digest.to_string()),
        variant: found.id.map(|id| Digest(id.variant).to_string()),
        url: found.url.clone(),
        body_hash: found.body.map(|hash| blake3::Hash::from_bytes(hash).to_hex().to_string()),
        repaired: found.mended,
    }
}

const fn message(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Record => "the record's checksum or structure does not hold",
        FaultKind::Unreadable => "a part of the index cannot be read",
        FaultKind::BodyMissing => "the body's file is gone",
        FaultKind::BodyDamaged => "a checksum of the body does not hold",
        FaultKind::RowMissing => "an index does not find the entry",
        FaultKind::StrayRow => "a row of an index has no entry",
        FaultKind::StrayChunk => "a part of a large head has no entry",
        FaultKind::StrayBody => "the body file has no entry",
        FaultKind::Expired => "past the time that it is kept",
    }
}

fn reclaimed(all: &store::Reclaimed, dry_run: bool) -> Reclaimed {
    let of = |kind| all.faults.get(&kind).copied().unwrap_or(0);
    Reclaimed {
        dry_run,
        expired: of(FaultKind::Expired),
        stray_rows: of(FaultKind::StrayRow) + of(FaultKind::StrayChunk),
        stray_bodies: of(FaultKind::StrayBody),
        temporary_files: all.temporary,
        retired_rules: all.rules,
        quarantines: all.quarantines,
        bytes: all.bytes,
    }
}

//! Slices as the admin API tells them: counted, and in runs.

use std::ops::Range;

use crate::admin::api::{SliceRun, StoredSlices, TakenSlices};
use crate::admin::handlers::entry::Seen;
use crate::clock::Timestamp;
use crate::http::cache_status::Forward;
use crate::pipeline::explain::{Slicing, Verdict, Wanted};

/// Runs of stored slices that are told one by one.
const TOLD: usize = 16;

/// What is stored, and what requests take of it.
pub(super) fn told(slicing: &Slicing, now: Timestamp) -> StoredSlices {
    let mut runs = runs(slicing, now);
    let more_runs = runs.len().saturating_sub(TOLD) as u64;
    runs.truncate(TOLD);
    StoredSlices {
        size: slicing.size,
        length: slicing.length,
        count: slicing.length.map(|length| length.div_ceil(slicing.size)),
        stored: slicing.stored.len() as u64,
        stored_bytes: slicing.stored.iter().map(|slice| slice.entry.body.len()).sum(),
        foreign: slicing.stored.iter().filter(|slice| !slice.same).count() as u64,
        runs,
        more_runs,
        unseen: slicing.unseen,
        first: slicing.first,
        first_key: slicing.first_key.to_string(),
        request: slicing.asked.as_ref().map(taken),
        without_range: slicing.whole.as_ref().map(taken),
    }
}

/// The answer in one line; `None` where it is that of the one reply that stands in the first slice's place.
pub(super) fn headline(slicing: &Slicing, verdict: Verdict) -> Option<String> {
    let Some(wanted) = &slicing.asked else {
        let nothing = slicing.stored.is_empty() && verdict == Verdict::Miss(Forward::UriMiss);
        return nothing.then(|| "MISS: none of its slices is stored".to_owned());
    };
    let Wanted { slices, stale, validated, fetched, .. } = wanted;
    let all = match slices {
        1 => "the slice that it takes is stored".to_owned(),
        slices => format!("all {slices} slices that it takes are stored"),
    };
    let there = slices - fetched;
    let nothing_to_fetch = *fetched == 0;
    let fetched = match fetched {
        1 => "1 is fetched".to_owned(),
        fetched => format!("{fetched} are fetched"),
    };
    Some(match verdict {
        Verdict::Hit => format!("HIT: {all} and fresh"),
        Verdict::Stale => format!("STALE: {all}, {stale} of them stale and sent all the same"),
        Verdict::Validate if nothing_to_fetch => {
            format!("VALIDATE: {all}, of {validated} the origin is asked whether they still hold")
        }
        Verdict::Validate => {
            format!("VALIDATE: {there} of {slices} slices that it takes are stored; {fetched}")
        }
        Verdict::Miss(_) if wanted.cut_at.is_some() => {
            "MISS: slices of two representations are stored; the reply breaks off, and they are purged"
                .to_owned()
        }
        Verdict::Miss(_) => {
            format!("MISS: {there} of {slices} slices that it takes are stored; {fetched}")
        }
        Verdict::Bypass(_) | Verdict::Refused => return None,
    })
}

/// First and last byte.
pub(super) fn first_and_last(bytes: &Range<u64>) -> (u64, u64) {
    (bytes.start, bytes.end.saturating_sub(1))
}

fn taken(wanted: &Wanted) -> TakenSlices {
    TakenSlices {
        bytes: wanted.bytes.iter().map(first_and_last).collect(),
        slices: wanted.slices,
        fresh: wanted.fresh,
        stale: wanted.stale,
        validated: wanted.validated,
        fetched: wanted.fetched,
        fetches: wanted.fetches.iter().map(first_and_last).collect(),
        more_fetches: wanted.more_fetches,
        cut_at: wanted.cut_at,
    }
}

fn runs(slicing: &Slicing, now: Timestamp) -> Vec<SliceRun> {
    let mut runs: Vec<SliceRun> = Vec::new();
    for slice in &slicing.stored {
        let (first, last) = first_and_last(&slice.entry.bytes());
        let state = Seen { entry: &slice.entry, now }.state();
        match runs.last_mut() {
            Some(run) if run.last.checked_add(1) == Some(first) && run.state == state => {
                run.last = last;
                run.slices += 1;
            }
            _ => runs.push(SliceRun { first, last, slices: 1, state: state.to_owned() }),
        }
    }
    runs
}

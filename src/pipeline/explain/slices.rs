//! What is stored slice by slice, and what of it a request would take: by the functions that serve it (`pipeline::slices`)
//! and, for each slice, by the look of a request for just that.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use http::{HeaderMap, Method, header, request};

use super::{Asked, Bypass, Explained, Verdict};
use crate::cache::entry::Entry;
use crate::cache::key::Digest;
use crate::cache::policy::{Answer, conditional};
use crate::cache::purge::Criterion;
use crate::http::cache_status::Forward;
use crate::pipeline::Proxy;
use crate::pipeline::slices::{first_slice, fits, head_of, is_of_one_whole, slice_request, takes_slices};

/// Entries of one URL that are looked at.
const LOOKED_AT: usize = 10_000;

/// Runs of bytes that are told one by one.
const TOLD: usize = 16;

/// What is stored of a URL slice by slice, and what of it a request takes.
#[derive(Clone, Debug)]
pub struct Slicing {
    /// Bytes of each slice but the last.
    pub size: u64,
    /// Bytes of the whole, as the slice that the request begins with has it; where that is not stored, the newest other.
    pub length: Option<u64>,
    /// What is stored, in the order of its place.
    pub stored: Vec<Slice>,
    /// Entries of the URL that were not looked at.
    pub unseen: u64,
    /// The slice that the request begins with.
    pub first: u64,
    /// The digest of its key.
    pub first_key: Digest,
    /// What would happen to it, as the reply's `Cache-Status` would tell.
    pub first_verdict: Verdict,
    /// What the request takes; `None` where that can't be known before the origin is asked.
    pub asked: Option<Wanted>,
    /// What it would take without `Range`, if it has one.
    pub whole: Option<Wanted>,
}

/// A stored slice.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Which one.
    pub number: u64,
    /// What is stored.
    pub entry: Arc<Entry>,
    /// What would happen to a request for it that is else like this one.
    pub verdict: Verdict,
    /// Whether it belongs to the same whole as the one that the request begins with.
    pub same: bool,
}

/// What a request takes of the slices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The bytes of its reply, in their order; empty where that has none.
    pub bytes: Vec<Range<u64>>,
    /// Slices that it needs, with the one by which the length is known.
    pub slices: u64,
    /// Of these, stored and fresh.
    pub fresh: u64,
    /// Stored, and sent although stale.
    pub stale: u64,
    /// Stored, and to be validated with the origin.
    pub validated: u64,
    /// To be fetched.
    pub fetched: u64,
    /// The bytes to be fetched, in runs; the first of them.
    pub fetches: Vec<Range<u64>>,
    /// Runs that are not told.
    pub more_fetches: u64,
    /// Where the reply would break off, since what is stored there is of another representation.
    pub cut_at: Option<u64>,
}

/// What is known of the whole before the origin is asked.
struct Known {
    headers: HeaderMap,
    length: u64,
}

impl Proxy {
    /// Tells of slices where the request is answered by them, as `Proxy::unanswered` decides it.
    pub(super) async fn explain_slices(&self, asked: Asked<'_>, explained: &mut Explained) {
        let Some(size) = asked.route.cache.slice else { return };
        let unlooked = matches!(
            explained.verdict,
            Verdict::Bypass(Bypass::Mode | Bypass::Method | Bypass::Body | Bypass::Doubtful(_))
        );
        if unlooked || !explained.variants.is_empty() || !takes_slices(&asked.head.method, &explained.request)
        {
            return;
        }
        explained.plain_until = self.plain_until(explained.digest);
        if explained.plain_until.is_some() {
            return;
        }
        let number = first_slice(&asked.head.headers, size);
        let head = slice_request(asked.head, number, size);
        let of_first = Asked { head: &head, slice: Some(number), ..asked };
        let first = self.explained(of_first, self.standing(of_first).await);
        let (entries, unseen) = self.of_url(explained).await;
        let stored = self.slices_among(asked, size, number, entries);
        explained.begin_with(
            asked.head,
            first,
            Slicing {
                size,
                length: None,
                stored,
                unseen,
                first: number,
                first_key: explained.digest,
                first_verdict: explained.verdict,
                asked: None,
                whole: None,
            },
        );
    }

    /// What is stored for the URL, and how much more there is than that.
    async fn of_url(&self, explained: &Explained) -> (Vec<Arc<Entry>>, u64) {
        let key = &explained.key;
        let url = Criterion::Url { authority: key.authority.clone(), target: key.target.clone() };
        let found = self.cache.victims(vec![url], LOOKED_AT).await;
        let unseen = found.entries.saturating_sub(found.sample.len() as u64);
        (found.sample.into_iter().map(|summary| summary.entry).collect(), unseen)
    }

    /// The slices among these entries that requests like this one would get.
    fn slices_among(&self, asked: Asked<'_>, size: u64, first: u64, entries: Vec<Arc<Entry>>) -> Vec<Slice> {
        let mut by_number = BTreeMap::<u64, Vec<Arc<Entry>>>::new();
        for entry in entries {
            // What is no part may be a reply that is no success, in the place of the slice that was asked for.
            let number = if entry.part.is_some() { entry.bytes().start / size } else { first };
            by_number.entry(number).or_default().push(entry);
        }
        let told = by_number.into_iter().filter_map(|(number, mut standing)| {
            standing.sort_by_key(|entry| std::cmp::Reverse(entry.head.response_time));
            let head = slice_request(asked.head, number, size);
            let one = self.explained(Asked { head: &head, slice: Some(number), ..asked }, standing);
            Some(Slice { number, entry: one.selected?, verdict: one.verdict, same: true })
        });
        told.collect()
    }
}

impl Explained {
    /// Goes on by the slice that the request begins with, as `Proxy::sliced` does.
    fn begin_with(&mut self, client: &request::Parts, first: Self, slicing: Slicing) {
        let mut slicing = Slicing { first_key: first.digest, first_verdict: first.verdict, ..slicing };
        let answers = matches!(first.verdict, Verdict::Hit | Verdict::Stale);
        let of_first = first.selected.as_ref().and_then(|entry| known(entry, slicing.first, slicing.size));
        // A reply that is no success is passed on as it is; a 200 and a 416 have the request asked in the plain way.
        let passed = answers
            && first.selected.as_ref().is_some_and(|entry| {
                entry.part.is_none() && !matches!(entry.head.status.as_u16(), 200 | 416)
            });
        if answers && of_first.is_none() && !passed {
            return;
        }
        let newest = || {
            let parts = slicing.stored.iter().max_by_key(|slice| slice.entry.head.response_time)?;
            known(&parts.entry, parts.number, slicing.size)
        };
        let whole = of_first.or_else(newest).filter(|_| !passed);
        if let Some(whole) = &whole {
            if slicing.first.saturating_mul(slicing.size) >= whole.length && !answers {
                // There is no such slice: once the origin has said so, it is asked in the plain way.
                return;
            }
            slicing.told_of(whole);
            let Some((answer, wanted)) = slicing.wanted(client, whole, self.at) else {
                // Only the origin can say: it is asked in the plain way.
                return;
            };
            slicing.asked = Some(wanted);
            slicing.whole = client.headers.contains_key(header::RANGE).then(|| {
                let mut plain = client.clone();
                plain.headers.remove(header::RANGE);
                slicing.wanted(&plain, whole, self.at).map(|(_, wanted)| wanted).unwrap_or_default()
            });
            self.answer = answers.then_some(answer);
        } else {
            self.answer = first.answer;
        }
        self.verdict = match &slicing.asked {
            Some(wanted) if answers => wanted.verdict(),
            _ => first.verdict,
        };
        self.selected = first.selected;
        self.places = first.places;
        self.missing = first.missing;
        self.reuse = first.reuse;
        self.reason = first.reason;
        self.conditions = first.conditions;
        self.stands_in = first.stands_in;
        self.guarded = first.guarded;
        self.slices = Some(Box::new(slicing));
    }
}

/// What a stored slice says of the whole; `None` where it can't be joined with others.
fn known(entry: &Entry, number: u64, size: u64) -> Option<Known> {
    let length = entry.part.and_then(|_| entry.complete())?;
    let headers = &entry.head.headers;
    fits(&entry.bytes(), headers, number, size, length).then(|| Known { headers: headers.clone(), length })
}

impl Slicing {
    /// Takes the whole's length over, and notes which slices are of another one.
    fn told_of(&mut self, whole: &Known) {
        self.length = Some(whole.length);
        for slice in &mut self.stored {
            slice.same = known(&slice.entry, slice.number, self.size).is_some_and(|other| {
                is_of_one_whole((&whole.headers, whole.length), (&other.headers, other.length))
            });
        }
    }

    /// How a request is answered, and what it takes for that; `None`: only the origin can say.
    fn wanted(
        &self,
        client: &request::Parts,
        whole: &Known,
        now: crate::clock::Timestamp,
    ) -> Option<(Answer, Wanted)> {
        let head = head_of(&whole.headers, now);
        let answer = conditional::answer(&client.method, &client.headers, &head, whole.length);
        let bytes = match &answer {
            Answer::Forward => return None,
            Answer::NotModified | Answer::Unsatisfiable => Vec::new(),
            _ if client.method == Method::HEAD => Vec::new(),
            Answer::Full => one(0..whole.length),
            Answer::Partial(ranges) => ranges.iter().map(|range| range.first..range.last + 1).collect(),
        };
        Some((answer, self.take(bytes, whole.length)))
    }

    /// What these bytes take of the slices.
    fn take(&self, bytes: Vec<Range<u64>>, length: u64) -> Wanted {
        let mut wanted = Wanted { bytes, ..Wanted::default() };
        let mut missing = Vec::<Range<u64>>::new();
        for run in self.numbers(&wanted.bytes) {
            wanted.slices += run.end - run.start;
            let mut next = run.start;
            let from = self.stored.partition_point(|slice| slice.number < run.start);
            for slice in self.stored[from..].iter().take_while(|slice| slice.number < run.end) {
                join(&mut missing, next..slice.number);
                next = slice.number + 1;
                match slice.verdict {
                    Verdict::Hit => wanted.fresh += 1,
                    Verdict::Stale => wanted.stale += 1,
                    Verdict::Validate => wanted.validated += 1,
                    _ => join(&mut missing, slice.number..next),
                }
                if !slice.same && matches!(slice.verdict, Verdict::Hit | Verdict::Stale) {
                    wanted.cut_at.get_or_insert(slice.number.saturating_mul(self.size));
                }
            }
            join(&mut missing, next..run.end);
        }
        wanted.fetched = missing.iter().map(|run| run.end - run.start).sum();
        wanted.more_fetches = missing.len().saturating_sub(TOLD) as u64;
        missing.truncate(TOLD);
        let place = |number: u64| number.saturating_mul(self.size).min(length);
        wanted.fetches = missing.iter().map(|run| place(run.start)..place(run.end)).collect();
        wanted
    }

    /// The numbers of the slices that have these bytes, and of the first, in runs that do not touch.
    fn numbers(&self, bytes: &[Range<u64>]) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = one(self.first..self.first + 1);
        runs.extend(bytes.iter().map(|bytes| bytes.start / self.size..bytes.end.div_ceil(self.size)));
        runs.sort_by_key(|run| run.start);
        let mut joined = Vec::new();
        for run in runs {
            join(&mut joined, run);
        }
        joined
    }
}

fn one(run: Range<u64>) -> Vec<Range<u64>> {
    Vec::from_iter([run])
}

/// Adds a run to others that begin no later, and joins it with the last one where they touch.
fn join(runs: &mut Vec<Range<u64>>, run: Range<u64>) {
    match runs.last_mut() {
        _ if run.is_empty() => {}
        Some(last) if run.start <= last.end => last.end = last.end.max(run.end),
        _ => runs.push(run),
    }
}

impl Wanted {
    /// What would happen to a request that takes these, and begins with one that is stored.
    fn verdict(&self) -> Verdict {
        match self {
            Self { fetched: 1.., .. } | Self { cut_at: Some(_), .. } => Verdict::Miss(Forward::Partial),
            Self { validated: 1.., .. } => Verdict::Validate,
            Self { stale: 1.., .. } => Verdict::Stale,
            _ => Verdict::Hit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slicing(stored: &[(u64, Verdict)]) -> Slicing {
        let slice = |(number, verdict): &(u64, Verdict)| Slice {
            number: *number,
            entry: Arc::new(crate::cache::store::tests::entry("/a", b"")),
            verdict: *verdict,
            same: *number != 7,
        };
        Slicing {
            size: 10,
            length: Some(95),
            stored: stored.iter().map(slice).collect(),
            unseen: 0,
            first: 0,
            first_key: Digest([0; 16]),
            first_verdict: Verdict::Hit,
            asked: None,
            whole: None,
        }
    }

    #[test]
    fn what_bytes_take_of_the_slices() {
        let all =
            slicing(&[(0, Verdict::Hit), (1, Verdict::Stale), (4, Verdict::Validate), (7, Verdict::Hit)]);
        let of = |bytes| all.take(bytes, 95);
        let first = of(one(0..10));
        assert_eq!((first.slices, first.fresh, first.verdict()), (1, 1, Verdict::Hit));
        let second = of(one(9..11));
        assert_eq!((second.fresh, second.stale, second.verdict()), (1, 1, Verdict::Stale));
        let gap = of(one(15..45));
        assert_eq!((gap.slices, gap.fetched, gap.validated), (5, 2, 1), "the first one tells the length");
        assert_eq!(gap.fetches, one(20..40));
        assert_eq!(of(one(40..41)).verdict(), Verdict::Validate);
        let end = of(one(85..95));
        assert_eq!((end.fetches, end.cut_at), (one(80..95), None), "no further than the end");
        let cut = of(one(0..95));
        assert_eq!((cut.slices, cut.fetched, cut.cut_at), (10, 6, Some(70)));
        assert_eq!(cut.fetches, [20..40, 50..70, 80..95]);
        let several = of(vec![31..32, 5..6, 33..34]);
        assert_eq!((several.slices, several.fetches), (2, one(30..40)), "each slice once");
        let nothing = of(Vec::new());
        assert_eq!((nothing.slices, nothing.verdict()), (1, Verdict::Hit));
    }

    #[test]
    fn many_runs_are_counted_and_not_all_told() {
        let every_other: Vec<_> = (0..100).map(|number| (number * 2, Verdict::Hit)).collect();
        let slicing = Slicing { length: Some(2000), ..slicing(&every_other) };
        let wanted = slicing.take(one(0..2000), 2000);
        assert_eq!((wanted.fetched, wanted.fetches.len(), wanted.more_fetches), (100, TOLD, 84));
    }
}

//! What was coded once is not coded again: kept beside the stored reply, and shared while it is made.

use std::future::poll_fn;
use std::sync::{Arc, Weak};

use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Method};

use super::head;
use super::recoded::Recoded;
use crate::cache::Cache;
use crate::cache::entry::{BodyRef, Entry, EntryHead};
use crate::cache::flight::{Boarding, FlightKey, Flights, Pilot};
use crate::cache::spool::Spool;
use crate::cache::store::{BodyHash, EntryId, NewEntry, PLAIN};
use crate::coding::Change;
use crate::pipeline::Proxy;
use crate::pipeline::exchange::Exchange;
use crate::pipeline::flight::{Landing, Shared, Streaming};
use crate::pipeline::reply::Source;
use crate::pipeline::respond::Reply;

/// Bodies in RAM whose hashes are remembered.
const REMEMBERED_HASHES: usize = 4096;
/// A body of so many bytes is hashed whenever its hash is asked for.
const SMALL: u64 = 1 << 10;

/// What a reply is all of: only that can be shared in another coding.
#[derive(Debug)]
pub(in crate::pipeline) enum Whole {
    /// A stored reply.
    Stored(Arc<Entry>),
    /// One that is being stored.
    Streaming(Arc<Streaming>),
}

/// What is being coded, and what is known of bodies that were.
#[derive(Debug)]
pub(in crate::pipeline) struct Coders {
    flights: Arc<Flights<Landing>>,
    /// By entry, with the very entry that it is of.
    hashes: quick_cache::sync::Cache<EntryId, (Weak<Entry>, BodyHash)>,
}

impl Default for Coders {
    fn default() -> Self {
        Self { flights: Arc::default(), hashes: quick_cache::sync::Cache::new(REMEMBERED_HASHES) }
    }
}

impl Coders {
    /// The hash of a stored body.
    fn hash(&self, entry: &Arc<Entry>) -> BodyHash {
        let bytes = match &entry.body {
            BodyRef::File(file) => return file.hash,
            BodyRef::Bytes(bytes) => bytes,
        };
        let hash = || *blake3::hash(bytes).as_bytes();
        if bytes.len() as u64 <= SMALL {
            return hash();
        }
        let id = EntryId::of(entry.key.digest(), entry);
        // An address is not given to another as long as somebody holds on to it, and be it weakly.
        if let Some((of, known)) = self.hashes.get(&id)
            && std::ptr::eq(of.as_ptr(), Arc::as_ptr(entry))
        {
            return known;
        }
        let hash = hash();
        self.hashes.insert(id, (Arc::downgrade(entry), hash));
        hash
    }
}

impl Whole {
    /// Its head, and its body's length, where that is known.
    pub(in crate::pipeline) fn head(&self) -> (&EntryHead, Option<u64>) {
        match self {
            Self::Stored(entry) => (&entry.head, Some(entry.body.len())),
            Self::Streaming(streaming) => (&streaming.head, streaming.length),
        }
    }

    /// What there will be to store of it in another coding, if anything.
    fn to_store(&self, change: Change) -> Option<NewEntry> {
        let mut new = match self {
            Self::Stored(entry) => NewEntry {
                key: entry.key.clone(),
                vary: entry.vary.clone(),
                part: None,
                head: entry.head.clone(),
                tags: entry.tags.clone(),
                route: entry.route.clone(),
                sequence: entry.sequence,
                keep_until: entry.keep_until,
                wanted: false,
            },
            Self::Streaming(streaming) => (**streaming.new.as_ref()?).clone(),
        };
        head::change(&mut new.head.headers, &[change]);
        Some(new)
    }
}

/// What a coding is called among stored ones.
fn name(change: Change) -> &'static str {
    match change {
        Change::Encode(coding, _) => coding.as_str(),
        Change::Decode(..) => PLAIN,
    }
}

impl Proxy {
    /// Gives a reply the content that its fields tell of by now.
    pub(super) async fn supply(
        &self,
        exchange: &Exchange,
        reply: &mut Reply,
        whole: Option<Whole>,
        changes: &[Change],
        flushes: bool,
    ) {
        if let (Some(whole), [change]) = (whole, changes)
            && reply.status == whole.head().0.status
            && self.shared(exchange, reply, &whole, *change, flushes).await
        {
            return;
        }
        for change in changes {
            let source = std::mem::replace(&mut reply.source, Source::Empty);
            if !source.is_end() {
                reply.source = self.recoding(source, *change, flushes);
            }
        }
    }

    fn recoding(&self, source: Source, change: Change, flushes: bool) -> Source {
        Source::Recoded(Box::new(Recoded::new(source, change, flushes, self.telemetry.clone())))
    }

    /// Takes what others have had coded, or has it coded for others too; whether that was possible.
    async fn shared(
        &self,
        exchange: &Exchange,
        reply: &mut Reply,
        whole: &Whole,
        change: Change,
        flushes: bool,
    ) -> bool {
        let mark = match whole {
            Whole::Stored(entry) => {
                let hash = self.coders.hash(entry);
                if self.stored(reply, entry, &hash, change).await {
                    return true;
                }
                hash
            }
            // Nobody else is at this address while it is being coded.
            Whole::Streaming(streaming) => {
                *blake3::hash(&(Arc::as_ptr(streaming) as usize).to_le_bytes()).as_bytes()
            }
        };
        if exchange.method != Method::GET || reply.source.is_end() {
            return false;
        }
        let Some(new) = whole.to_store(change) else { return false };
        let digest = new.key.coded(name(change), self.cache.secret()).digest();
        let variant = self.cache.secret().hash([&EntryId::new(digest, &new.vary).variant[..], &mark]);
        let key = FlightKey { digest, variant: Some(variant) };
        match self.coders.flights.board(key, new.sequence, |_| true) {
            Boarding::Follower(ticket) => {
                let landed = ticket.landed().await;
                let Some(Landing::Streaming(streaming)) = landed else { return false };
                let Ok(reader) = streaming.body.reader(0) else { return false };
                reply.source = Source::Shared(Box::new(Shared::new(reader, None, ticket)));
            }
            Boarding::Leader(ticket, pilot) => {
                if let Whole::Stored(entry) = whole
                    && self.stored(reply, entry, &mark, change).await
                {
                    // It came between the first look and this one.
                    return true;
                }
                let spool = self.cache.spool(None, None);
                let streaming = coding(&new, &spool);
                let Ok(reader) = streaming.body.reader(0) else { return false };
                pilot.land(Landing::Streaming(Arc::new(streaming)));
                let source = std::mem::replace(&mut reply.source, Source::Empty);
                let recoded = Recoded::new(source, change, flushes, self.telemetry.clone());
                let of = match whole {
                    Whole::Stored(_) => None,
                    Whole::Streaming(streaming) => Some(streaming.clone()),
                };
                let job = Job { cache: self.cache.clone(), new, change, of };
                tokio::spawn(job.run(recoded, spool, pilot));
                reply.source = Source::Shared(Box::new(Shared::new(reader, None, ticket)));
            }
        }
        true
    }

    /// Answers with what is stored in this coding, if it is.
    async fn stored(&self, reply: &mut Reply, entry: &Arc<Entry>, hash: &BodyHash, change: Change) -> bool {
        let Some(coded) = self.cache.coded(entry, hash, name(change)) else { return false };
        let length = coded.body.len();
        let source = match &coded.body {
            _ if reply.source.is_end() => Source::Empty,
            BodyRef::Bytes(bytes) => Source::Full(bytes.clone()),
            BodyRef::File(_) => match self.cache.read_body(&coded, 0..length).await {
                Ok(reader) => Source::File(Box::new(reader)),
                Err(error) => {
                    tracing::warn!(%error, url = %entry.key.url(), "a coded body is not usable, and made anew");
                    return false;
                }
            },
        };
        match &mut reply.source {
            // Its length is not told, so that the trailers can follow.
            Source::Trailed(trailed) => {
                trailed.body = source;
                // Where none are left, what ends the body still follows it.
                trailed.trailers.iter_mut().for_each(head::forget_bytes);
            }
            other => {
                *other = source;
                reply.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            }
        }
        true
    }
}

/// What others join who want the same in the same coding.
fn coding(new: &NewEntry, spool: &Spool) -> Streaming {
    Streaming {
        head: new.head.clone(),
        vary: new.vary.clone(),
        body: spool.handle(),
        length: None,
        part: None,
        completes: false,
        new: None,
    }
}

/// Codes a body for all who want it so, and stores it.
struct Job {
    cache: Arc<Cache>,
    new: NewEntry,
    change: Change,
    /// What it is made of, where that is still being stored.
    of: Option<Arc<Streaming>>,
}

impl Job {
    async fn run(self, mut recoded: Recoded, mut spool: Spool, pilot: Pilot<Landing>) {
        let max_body = self.cache.settings().max_body;
        let mut trailers = None;
        loop {
            tokio::select! {
                biased;
                () = spool.demand() => {}
                () = pilot.abandoned() => return,
            }
            let frame = tokio::select! {
                biased;
                frame = poll_fn(|cx| recoded.poll_frame(cx)) => frame,
                () = pilot.abandoned() => return,
            };
            match frame {
                None => break,
                Some(Err(error)) => {
                    // Who reads it finds it cut.
                    tracing::debug!(%error, url = %self.new.key.url(), "a body could not be coded");
                    return;
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        if spool.len() + data.len() as u64 > max_body && spool.is_storable() {
                            pilot.close();
                            pilot.attach();
                            spool.discard();
                        }
                        spool.append(data).await;
                    }
                    Err(frame) => trailers = frame.into_trailers().ok(),
                },
            }
        }
        // What will not be stored as it is, is of no use in another coding.
        let kept = self.of.as_ref().is_none_or(|streaming| streaming.body.is_kept()) && spool.is_storable();
        let body = spool.finish(trailers).await;
        if kept {
            let hash = recoded.source_hash();
            self.cache.insert_coded(self.new, name(self.change), &hash, body);
        }
    }
}

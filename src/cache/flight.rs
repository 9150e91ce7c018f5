//! One fetch, many readers (RFC 9111 4: a response may satisfy several requests that wait for it).
//!
//! A *flight* is a fetch under way for one key. Whoever asks for the key meanwhile joins it: the fetch belongs to
//! nobody's connection, so a leader that goes away does not take its followers along, and a fetch that nobody
//! waits for any more is cancelled. A flight *lands* when its head has been judged: the reply may be shared, an
//! entry was freshened, or each must fetch its own.
//!
//! ```text
//!  exchange ─join─▶ Flights ─▶ Ticket ─landed()─▶ Landing ─▶ reply
//!                      ▲                             │
//!  fetch task ─────────┴── land(..), pump the body into the spool
//! ```

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::key::{Digest, FieldHash};

/// What a flight fetches: a key, and the request's variant of it as far as stored replies tell what varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlightKey {
    /// The key's digest.
    pub digest: Digest,
    /// Hash of the request fields that the newest stored variant varies on.
    pub variant: Option<FieldHash>,
}

/// All flights of an instance, whichever worker their clients came in on.
#[derive(Debug)]
pub struct Flights<T> {
    shards: Box<[Mutex<Table<T>>]>,
}

type Table<T> = HashMap<FlightKey, Arc<Flight<T>>>;

/// One fetch under way; `T` is what it lands with.
#[derive(Debug)]
pub struct Flight<T> {
    key: FlightKey,
    /// The purge sequence when the fetch began: who comes after a purge must not share it.
    sequence: u64,
    /// `None`: the fetch ended without a word (it panicked, or its runtime is shutting down).
    landed: OnceLock<Option<T>>,
    waiting: Notify,
    /// Those who wait for it or read from it; 0 is final (the flight is cancelled) unless it is detached.
    tickets: AtomicUsize,
    abandoned: Notify,
    /// It goes on to its end, whoever waits.
    detached: AtomicBool,
}

/// A share in a flight; when the last one is dropped the flight is cancelled.
#[derive(Debug)]
pub struct Ticket<T> {
    flight: Arc<Flight<T>>,
}

/// How an exchange came to a flight.
#[derive(Debug)]
pub enum Boarding<T: Clone> {
    /// There was none: the caller must start the fetch, which holds the pilot's side.
    Leader(Ticket<T>, Pilot<T>),
    /// It shares one that is under way.
    Follower(Ticket<T>),
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self { shards: (0..64).map(|_| Mutex::default()).collect() }
    }
}

impl<T: Clone> Flights<T> {
    /// Joins the flight for `key`, or opens one.
    ///
    /// `spared` says whether a purge since the given sequence leaves a fetch that began then alone. A flight that was
    /// not spared is not joined; the new one, which begins at `sequence`, takes its place in the table.
    pub fn board(
        self: &Arc<Self>,
        key: FlightKey,
        sequence: u64,
        spared: impl Fn(u64) -> bool,
    ) -> Boarding<T> {
        let mut table = self.shard(&key).lock();
        if let Some(flight) = table.get(&key)
            && spared(flight.sequence)
            && let Some(ticket) = flight.ticket()
        {
            return Boarding::Follower(ticket);
        }
        let (flight, ticket) = Flight::open(key, sequence);
        table.insert(key, flight.clone());
        Boarding::Leader(ticket, Pilot { flight, flights: self.clone() })
    }

    /// Joins the flight for `key` if there is one that was `spared`, and opens none.
    pub fn join(&self, key: &FlightKey, spared: impl Fn(u64) -> bool) -> Option<Ticket<T>> {
        let table = self.shard(key).lock();
        table.get(key).filter(|flight| spared(flight.sequence))?.ticket()
    }

    /// A flight that nobody else can join.
    pub fn alone(self: &Arc<Self>, key: FlightKey, sequence: u64) -> (Ticket<T>, Pilot<T>) {
        let (flight, ticket) = Flight::open(key, sequence);
        (ticket, Pilot { flight, flights: self.clone() })
    }

    fn leave_flight(&self, flight: &Arc<Flight<T>>) {
        let mut table = self.shard(&flight.key).lock();
        if table.get(&flight.key).is_some_and(|standing| Arc::ptr_eq(standing, flight)) {
            table.remove(&flight.key);
        }
    }

    /// Flights under way for a key, whatever their variant.
    pub fn under_way(&self, digest: Digest) -> usize {
        let table = self.shard(&FlightKey { digest, variant: None }).lock();
        table.keys().filter(|key| key.digest == digest).count()
    }

    /// Flights under way.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Exchanges that wait for the flights under way, or read what they bring.
    pub fn tickets(&self) -> usize {
        let held = |flight: &Arc<Flight<T>>| flight.tickets.load(Ordering::SeqCst);
        self.shards.iter().map(|shard| shard.lock().values().map(held).sum::<usize>()).sum()
    }

    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, key: &FlightKey) -> &Mutex<Table<T>> {
        // The digest is uniform already; its first byte spreads keys over the shards.
        &self.shards[key.digest.0[0] as usize % self.shards.len()]
    }
}

impl<T> Flight<T> {
    fn open(key: FlightKey, sequence: u64) -> (Arc<Self>, Ticket<T>) {
        let flight = Arc::new(Self {
            key,
            sequence,
            landed: OnceLock::new(),
            waiting: Notify::new(),
            tickets: AtomicUsize::new(1),
            abandoned: Notify::new(),
            detached: AtomicBool::new(false),
        });
        (flight.clone(), Ticket { flight })
    }

    fn settle(&self, landing: Option<T>) {
        if self.landed.set(landing).is_ok() {
            self.waiting.notify_waiters();
        }
    }

    /// One more share, unless the last one is already gone.
    fn ticket(self: &Arc<Self>) -> Option<Ticket<T>> {
        self.tickets
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |shares| {
                (shares > 0 || self.detached.load(Ordering::Acquire)).then_some(shares + 1)
            })
            .ok()
            .map(|_| Ticket { flight: self.clone() })
    }
}

/// The fetch's own side of a flight: holding it keeps nobody waiting and the flight not alive.
#[derive(Debug)]
pub struct Pilot<T: Clone> {
    flight: Arc<Flight<T>>,
    flights: Arc<Flights<T>>,
}

impl<T: Clone> Ticket<T> {
    /// Waits until the flight has landed; `None` if its fetch ended without a word.
    pub async fn landed(&self) -> Option<T> {
        loop {
            // Registered before the look, so that a landing in between is not missed.
            let told = self.flight.waiting.notified();
            if let Some(landing) = self.flight.landed.get() {
                return landing.clone();
            }
            told.await;
        }
    }

    /// Lets the flight go on to its end even when nobody waits for it any more: what it brings is wanted in the
    /// store (a background refresh, or a reader that needed only the head).
    pub fn detach(&self) {
        self.flight.detached.store(true, Ordering::Release);
    }
}

impl<T> Clone for Ticket<T> {
    fn clone(&self) -> Self {
        // A ticket at hand means that there is at least one share, so the count cannot be at its final zero.
        self.flight.tickets.fetch_add(1, Ordering::AcqRel);
        Self { flight: self.flight.clone() }
    }
}

impl<T> Drop for Ticket<T> {
    fn drop(&mut self) {
        if self.flight.tickets.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.flight.abandoned.notify_one();
        }
    }
}

impl<T: Clone> Pilot<T> {
    /// Tells everyone who waits, now and later, how the flight came down. Only the first word counts.
    pub fn land(&self, landing: T) {
        self.flight.settle(Some(landing));
    }

    /// Resolves once nobody waits for the flight or reads from it any more.
    pub async fn abandoned(&self) {
        loop {
            if self.flight.tickets.load(Ordering::Acquire) == 0 {
                if self.flight.detached.load(Ordering::Acquire) {
                    return std::future::pending().await;
                }
                return;
            }
            self.flight.abandoned.notified().await;
        }
    }

    /// From now on the flight goes on to its end, and may be joined, although nobody waits for it.
    pub fn detach(&self) {
        self.flight.detached.store(true, Ordering::Release);
    }

    /// From now on the fetch is worth nothing but to its readers: what it brings will not be stored.
    pub fn attach(&self) {
        self.flight.detached.store(false, Ordering::Release);
    }

    /// The purge sequence when the fetch began.
    pub fn sequence(&self) -> u64 {
        self.flight.sequence
    }

    /// Takes the flight off the table: nobody joins any more.
    pub fn close(&self) {
        self.flights.leave_flight(&self.flight);
    }
}

impl<T: Clone> Drop for Pilot<T> {
    fn drop(&mut self) {
        self.close();
        // Nobody may wait for a fetch that has ended.
        self.flight.settle(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> FlightKey {
        FlightKey { digest: Digest([byte; 16]), variant: None }
    }

    fn flights() -> Arc<Flights<u32>> {
        Arc::default()
    }

    #[tokio::test]
    async fn followers_hear_where_the_leader_landed() {
        let flights = flights();
        let Boarding::Leader(leader, pilot) = flights.board(key(1), 0, |_| true) else {
            panic!("nobody flew before")
        };
        let Boarding::Follower(follower) = flights.board(key(1), 0, |_| true) else { panic!("must join") };
        let (heard, ()) = tokio::join!(follower.landed(), async { pilot.land(7) });
        assert_eq!(heard, Some(7));
        assert_eq!(leader.landed().await, Some(7));
        drop(pilot);
        assert!(flights.is_empty());
    }

    #[test]
    fn who_only_joins_opens_nothing() {
        let flights = flights();
        assert!(flights.join(&key(1), |_| true).is_none());
        let Boarding::Leader(_leader, _pilot) = flights.board(key(1), 3, |_| true) else {
            panic!("nobody flew before")
        };
        assert!(flights.join(&key(1), |since| since >= 3).is_some());
        assert!(flights.join(&key(1), |since| since >= 4).is_none());
    }

    #[tokio::test]
    async fn a_flight_goes_on_until_the_last_share_is_gone() {
        let flights = flights();
        let Boarding::Leader(leader, pilot) = flights.board(key(1), 0, |_| true) else {
            panic!("nobody flew before")
        };
        let Boarding::Follower(follower) = flights.board(key(1), 0, |_| true) else { panic!("must join") };
        drop(leader);
        assert!(futures_util::poll!(std::pin::pin!(pilot.abandoned())).is_pending());
        drop(follower);
        pilot.abandoned().await;
        assert!(
            matches!(flights.board(key(1), 0, |_| true), Boarding::Leader(..)),
            "a cancelled flight is not joined"
        );
    }

    #[tokio::test]
    async fn a_detached_flight_goes_on_and_can_still_be_joined() {
        let flights = flights();
        let Boarding::Leader(leader, pilot) = flights.board(key(1), 0, |_| true) else {
            panic!("nobody flew before")
        };
        leader.detach();
        drop(leader);
        assert!(futures_util::poll!(std::pin::pin!(pilot.abandoned())).is_pending());
        assert!(matches!(flights.board(key(1), 0, |_| true), Boarding::Follower(_)));
    }

    #[tokio::test]
    async fn a_flight_whose_body_is_whole_is_joined_until_it_is_stored() {
        let flights = flights();
        let Boarding::Leader(leader, pilot) = flights.board(key(1), 0, |_| true) else {
            panic!("nobody flew before")
        };
        pilot.detach();
        drop(leader);
        assert!(matches!(flights.board(key(1), 0, |_| true), Boarding::Follower(_)));
        drop(pilot);
        assert!(flights.is_empty());
    }

    #[tokio::test]
    async fn a_detached_flight_that_brings_nothing_to_keep_ends_with_its_readers() {
        let flights = flights();
        let (ticket, pilot) = flights.alone(key(1), 0);
        ticket.detach();
        drop(ticket);
        pilot.attach();
        pilot.abandoned().await;
    }

    #[tokio::test]
    async fn a_fetch_that_ends_without_a_word_leaves_nobody_waiting() {
        let flights = flights();
        let (ticket, pilot) = flights.alone(key(1), 0);
        drop(pilot);
        assert_eq!(ticket.landed().await, None);
    }

    #[test]
    fn who_comes_after_a_purge_does_not_share_an_older_fetch() {
        let flights = flights();
        let Boarding::Leader(_old, pilot) = flights.board(key(1), 3, |since| since >= 3) else {
            panic!("nobody flew before")
        };
        let Boarding::Leader(_new, _other) = flights.board(key(1), 4, |since| since >= 4) else {
            panic!("must not join across a purge")
        };
        drop(pilot);
        assert_eq!(flights.len(), 1, "the old flight's end leaves the new one in its place");
    }
}

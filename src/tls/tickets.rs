//! Session tickets (RFC 5077, RFC 8446 4.6.1) under keys that are made here, change, and are forgotten.
//!
//! One set of keys belongs to one set of client-certificate settings: a ticket that was given out under others cannot
//! be read, and its holder goes through a whole handshake.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use parking_lot::RwLock;
use rustls::server::ProducesTickets;

use crate::clock::{Clock, Timestamp};

/// Names the key that a ticket was sealed with.
const NAME_LEN: usize = 16;

/// Keys of tickets. Each seals for one interval, opens for one more, and is gone.
pub(super) struct Tickets {
    interval: Duration,
    clock: Clock,
    keys: RwLock<Keys>,
}

struct Keys {
    current: Key,
    previous: Option<Key>,
    since: Timestamp,
}

struct Key {
    name: [u8; NAME_LEN],
    aead: RandomizedNonceKey,
}

impl Key {
    fn new() -> Option<Self> {
        let (mut name, mut bytes) = ([0; NAME_LEN], [0; 32]);
        aws_lc_rs::rand::fill(&mut name).ok()?;
        aws_lc_rs::rand::fill(&mut bytes).ok()?;
        let aead = RandomizedNonceKey::new(&AES_256_GCM, &bytes).ok()?;
        Some(Self { name, aead })
    }
}

impl Tickets {
    /// `None` where the system gives no randomness.
    pub(super) fn new(interval: Duration, clock: Clock) -> Option<Self> {
        let keys = Keys { current: Key::new()?, previous: None, since: clock.now() };
        Some(Self { interval, clock, keys: RwLock::new(keys) })
    }

    /// Lets the keys change that are due. A clock that was set back changes nothing.
    fn rotate(&self) -> Option<()> {
        let now = self.clock.now();
        let age = now.since(self.keys.read().since);
        if age < self.interval {
            return Some(());
        }
        let fresh = Key::new()?;
        let mut keys = self.keys.write();
        let age = now.since(keys.since);
        if age < self.interval {
            return Some(());
        }
        let old = std::mem::replace(&mut keys.current, fresh);
        // Nothing was sealed for an interval or more: the old key has had its time.
        keys.previous = (age < self.interval * 2).then_some(old);
        keys.since = now;
        Some(())
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.interval.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.rotate()?;
        let keys = self.keys.read();
        let mut sealed = plain.to_vec();
        let nonce =
            keys.current.aead.seal_in_place_append_tag(Aad::from(&keys.current.name), &mut sealed).ok()?;
        let mut ticket = Vec::with_capacity(NAME_LEN + NONCE_LEN + sealed.len());
        ticket.extend_from_slice(&keys.current.name);
        ticket.extend_from_slice(nonce.as_ref());
        ticket.extend_from_slice(&sealed);
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.rotate()?;
        let (name, rest) = ticket.split_at_checked(NAME_LEN)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let keys = self.keys.read();
        // A key's name is no secret, so it is compared plainly.
        let key = [Some(&keys.current), keys.previous.as_ref()]
            .into_iter()
            .flatten()
            .find(|key| key.name == name)?;
        let mut opened = sealed.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let length = key.aead.open_in_place(nonce, Aad::from(&key.name), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("interval", &self.interval).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(3600);

    fn tickets() -> (Tickets, Clock) {
        let clock = Clock::manual(Timestamp::from_secs(1_000_000));
        (Tickets::new(INTERVAL, clock.clone()).unwrap(), clock)
    }

    #[test]
    fn a_ticket_opens_for_one_to_two_intervals() {
        let (tickets, clock) = tickets();
        let ticket = tickets.encrypt(b"state").unwrap();
        assert_eq!(tickets.decrypt(&ticket).as_deref(), Some(&b"state"[..]));
        clock.advance(INTERVAL);
        assert_eq!(tickets.decrypt(&ticket).as_deref(), Some(&b"state"[..]), "by the previous key");
        let later = tickets.encrypt(b"later").unwrap();
        assert_ne!(ticket[..NAME_LEN], later[..NAME_LEN], "a new key seals");
        clock.advance(INTERVAL);
        assert_eq!(tickets.decrypt(&ticket), None, "its key is forgotten");
        assert!(tickets.decrypt(&later).is_some());
    }

    #[test]
    fn a_long_silence_leaves_no_old_key() {
        let (tickets, clock) = tickets();
        let ticket = tickets.encrypt(b"state").unwrap();
        clock.advance(INTERVAL * 5);
        assert_eq!(tickets.decrypt(&ticket), None);
    }

    #[test]
    fn what_was_not_sealed_here_does_not_open() {
        let (tickets, _) = tickets();
        let ticket = tickets.encrypt(b"state").unwrap();
        for at in 0..ticket.len() {
            let mut forged = ticket.clone();
            forged[at] ^= 1;
            assert_eq!(tickets.decrypt(&forged), None, "byte {at}");
            assert_eq!(tickets.decrypt(&ticket[..at]), None, "{at} bytes");
        }
        let others = Tickets::new(INTERVAL, Clock::System).unwrap();
        assert_eq!(others.decrypt(&ticket), None, "of other settings");
    }
}

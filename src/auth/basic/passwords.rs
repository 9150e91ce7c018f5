//! Checking passwords without letting anybody be starved by it.
//!
//! A check is slow on purpose and takes megabytes, so a few run at once, on threads that serve nobody. Who waits is
//! bounded in all and for each client, so that a flood of wrong passwords from one place keeps others neither out nor
//! waiting; requests with the same credentials wait for one check together. What held is remembered by a keyed hash over the
//! user's hash and the password: with another hash in the config it is as if nothing were remembered, and wrong
//! passwords drive nothing out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::{Hash, Users};
use crate::clock::Timestamp;
use crate::http::basic::Credentials;

/// How long a password is taken for right.
const TRUST: Duration = Duration::from_secs(5 * 60);

/// The most that are remembered.
const MAX_REMEMBERED: usize = 16_384;

/// The most checks that wait or run, in all and for one client.
const MAX_WAITING: usize = 128;
const MAX_OF_CLIENT: usize = 16;

/// The longest wait.
const PATIENCE: Duration = Duration::from_secs(10);

type Key = [u8; 16];

/// Who checks passwords; one for all sites.
pub struct Passwords {
    secret: [u8; 32],
    right: quick_cache::sync::Cache<Key, Timestamp>,
    slots: Arc<Semaphore>,
    queue: Arc<Queue>,
}

/// Why a password is not checked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// Too many wait.
    All,
    /// This client has too many waiting.
    Client,
}

/// Who waits, by client.
#[derive(Debug, Default)]
struct Queue(Mutex<HashMap<IpAddr, usize>>);

/// A place in the queue.
#[derive(Debug)]
struct Place {
    queue: Arc<Queue>,
    client: IpAddr,
}

impl Passwords {
    /// Nothing is known yet; `at_once` checks run at the same time.
    pub fn new(at_once: usize) -> Self {
        Self {
            secret: crate::auth::random(),
            right: quick_cache::sync::Cache::new(MAX_REMEMBERED),
            slots: Arc::new(Semaphore::new(at_once.max(1))),
            queue: Arc::default(),
        }
    }

    /// Whose credentials these are, if that is remembered.
    pub fn recall(&self, users: &Users, given: &Credentials, now: Timestamp) -> Option<Arc<str>> {
        let (name, hash) = users.find(given.name())?;
        let until = self.right.get(&self.key(hash, given))?;
        (now < until).then(|| name.clone())
    }

    /// Whose credentials these are; `None`: nobody's.
    ///
    /// # Errors
    /// When too many wait.
    pub async fn check(
        &self,
        users: &Users,
        given: &Credentials,
        client: IpAddr,
        now: Timestamp,
    ) -> Result<Option<Arc<str>>, Busy> {
        let checking = self.checked(users, given, client, now);
        tokio::time::timeout(PATIENCE, checking).await.unwrap_or(Err(Busy::All))
    }

    async fn checked(
        &self,
        users: &Users,
        given: &Credentials,
        client: IpAddr,
        now: Timestamp,
    ) -> Result<Option<Arc<str>>, Busy> {
        let Some((name, hash)) = users.find(given.name()) else {
            self.check_nobody(users, given, client).await?;
            return Ok(None);
        };
        let key = self.key(hash, given);
        if self.right.get(&key).is_some_and(|until| until <= now) {
            self.right.remove(&key);
        }
        // Who comes with the same credentials meanwhile waits here; if they were wrong, the next one checks.
        let first = match self.right.get_value_or_guard_async(&key).await {
            Ok(_) => return Ok(Some(name.clone())),
            Err(first) => first,
        };
        let right = self.run(hash, given, client).await?;
        if right {
            // It fails only where somebody else has put it there.
            let _ = first.insert(now.plus(TRUST));
        }
        Ok(right.then(|| name.clone()))
    }

    /// Does for a name that nobody has what is done for one that somebody has, with a password that is wrong: who asks with
    /// the same credentials meanwhile waits here as well.
    async fn check_nobody(&self, users: &Users, given: &Credentials, client: IpAddr) -> Result<(), Busy> {
        let seed = blake3::keyed_hash(&self.secret, given.name().as_bytes());
        let seed = seed.as_bytes().iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte));
        let Some(hash) = users.stand_in(seed) else { return Ok(()) };
        // Nothing is ever put there: it is dropped when this ends, and the next one's turn comes.
        let _first = self.right.get_value_or_guard_async(&self.nobody_s_key(given)).await;
        self.run(hash, given, client).await.map(drop)
    }

    async fn run(&self, hash: &Arc<Hash>, given: &Credentials, client: IpAddr) -> Result<bool, Busy> {
        let place = self.queue.enter(client)?;
        let slot = self.slots.clone().acquire_owned().await.map_err(|_| Busy::All)?;
        let (hash, given) = (hash.clone(), given.clone());
        // Both are held for as long as it runs, whether or not the client still waits.
        let check = move || {
            let right = hash.is_of(given.password());
            drop((place, slot));
            right
        };
        Ok(tokio::task::spawn_blocking(check).await.unwrap_or(false))
    }

    fn key(&self, hash: &Hash, given: &Credentials) -> Key {
        self.key_of(hash.text(), given)
    }

    /// It is no user's: their hashes begin with `$`.
    fn nobody_s_key(&self, given: &Credentials) -> Key {
        self.key_of(&format!("nobody {}", given.name()), given)
    }

    fn key_of(&self, whose: &str, given: &Credentials) -> Key {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        // With its length, so that the two cannot run into each other.
        hasher.update(&whose.len().to_le_bytes());
        hasher.update(whose.as_bytes());
        hasher.update(given.password());
        let mut half = [0; 16];
        half.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        half
    }
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passwords").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl Queue {
    fn enter(self: &Arc<Self>, client: IpAddr) -> Result<Place, Busy> {
        let client = neighbourhood(client);
        let mut waiting = self.0.lock();
        if waiting.values().sum::<usize>() >= MAX_WAITING {
            return Err(Busy::All);
        }
        let own = waiting.entry(client).or_default();
        if *own >= MAX_OF_CLIENT {
            return Err(Busy::Client);
        }
        *own += 1;
        drop(waiting);
        Ok(Place { queue: self.clone(), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.queue.0.lock();
        if let Some(own) = waiting.get_mut(&self.client) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                waiting.remove(&self.client);
            }
        }
    }
}

/// All addresses that a single client usually has: one of IPv4, a /64 of IPv6.
fn neighbourhood(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => (address & Ipv6Addr::from(u128::MAX << 64)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::http::test_headers::headers;

    fn users() -> Users {
        let hash = |password: &str| Hash::parse(&bcrypt::hash(password, 4).unwrap()).unwrap();
        Users::new([("alice".into(), hash("right")), ("bob".into(), hash("other"))])
    }

    fn given(pair: &str) -> Credentials {
        Credentials::of(&headers(&[&format!("authorization: Basic {}", STANDARD.encode(pair))])).unwrap()
    }

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn what_held_is_remembered_for_a_while_and_what_did_not_is_not() {
        let (users, passwords) = (users(), Passwords::new(1));
        let now = Timestamp::from_millis(1_000_000);
        let alice = Some(Arc::from("alice"));
        let recall = |pair: &str, now| passwords.recall(&users, &given(pair), now);
        assert_eq!(recall("alice:right", now), None);
        for (pair, right) in [
            ("alice:right", true),
            ("alice:wrong", false),
            ("alice:", false),
            ("bob:right", false),
            ("nobody:right", false),
            ("Alice:right", false),
        ] {
            let expected = alice.clone().filter(|_| right);
            assert_eq!(
                passwords.check(&users, &given(pair), CLIENT, now).await,
                Ok(expected.clone()),
                "{pair}"
            );
            assert_eq!(recall(pair, now), expected);
        }
        assert_eq!(recall("alice:right", now.plus(TRUST)), None);
        assert_eq!(
            passwords.check(&users, &given("alice:right"), CLIENT, now.plus(TRUST)).await,
            Ok(alice.clone())
        );
        assert_eq!(recall("alice:right", now.plus(TRUST)), alice);

        // With another hash, of another password, nothing is remembered.
        let changed = Users::new([("alice".into(), Hash::parse(&bcrypt::hash("new", 4).unwrap()).unwrap())]);
        assert_eq!(passwords.recall(&changed, &given("alice:right"), now), None);
        assert_eq!(passwords.check(&changed, &given("alice:right"), CLIENT, now).await, Ok(None));
        let nobody = Users::new([]);
        assert_eq!(passwords.check(&nobody, &given("alice:right"), CLIENT, now).await, Ok(None));
    }

    #[tokio::test]
    async fn who_waits_is_bounded_in_all_and_for_each_client() {
        let passwords = Passwords::new(1);
        let address = |n: usize| IpAddr::from([10, 0, 0, u8::try_from(n).unwrap()]);
        let mut places = Vec::new();
        for _ in 0..MAX_OF_CLIENT {
            places.push(passwords.queue.enter(address(0)).unwrap());
        }
        assert_eq!(passwords.queue.enter(address(0)).err(), Some(Busy::Client));
        for n in 1..MAX_WAITING / MAX_OF_CLIENT {
            places.extend((0..MAX_OF_CLIENT).map(|_| passwords.queue.enter(address(n)).unwrap()));
        }
        assert_eq!(passwords.queue.enter(address(200)).err(), Some(Busy::All));
        let now = Timestamp::from_millis(0);
        assert_eq!(passwords.check(&users(), &given("alice:wrong"), address(200), now).await, Err(Busy::All));
        drop(places);
        assert!(passwords.queue.0.lock().is_empty());
        assert_eq!(passwords.check(&users(), &given("alice:wrong"), address(200), now).await, Ok(None));
        assert!(passwords.queue.0.lock().is_empty());
    }

    #[test]
    fn addresses_of_one_client_are_one() {
        let same = |a: &str, b: &str| neighbourhood(a.parse().unwrap()) == neighbourhood(b.parse().unwrap());
        assert!(same("2001:db8::1", "2001:db8::ffff:1"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("::ffff:10.0.0.1", "10.0.0.1"));
        assert!(!same("10.0.0.1", "10.0.0.2"));
    }

    /// A hundred requests with the same right password cost one check.
    #[tokio::test]
    async fn the_same_credentials_are_checked_together() {
        let (users, passwords) = (Arc::new(users()), Arc::new(Passwords::new(1)));
        let now = Timestamp::from_millis(0);
        let asking = (0..100).map(|_| {
            let (users, passwords) = (users.clone(), passwords.clone());
            tokio::spawn(async move { passwords.check(&users, &given("alice:right"), CLIENT, now).await })
        });
        for asked in asking.collect::<Vec<_>>() {
            assert_eq!(
                asked.await.unwrap(),
                Ok(Some("alice".into())),
                "more than {MAX_OF_CLIENT} of one client"
            );
        }
    }

    /// Who asks often at once does not learn from how that ends which names there are.
    #[tokio::test]
    async fn a_name_that_nobody_has_waits_like_any_other() {
        let (users, passwords) = (Arc::new(users()), Arc::new(Passwords::new(4)));
        let now = Timestamp::from_millis(0);
        for pair in ["alice:wrong", "nobody:wrong"] {
            let asking = (0..2 * MAX_OF_CLIENT).map(|_| {
                let (users, passwords) = (users.clone(), passwords.clone());
                tokio::spawn(async move { passwords.check(&users, &given(pair), CLIENT, now).await })
            });
            for asked in asking.collect::<Vec<_>>() {
                assert_eq!(asked.await.unwrap(), Ok(None), "{pair}");
            }
        }
        // One's password is nobody's, however it is asked for.
        for _ in 0..2 {
            assert_eq!(passwords.check(&users, &given("nobody:right"), CLIENT, now).await, Ok(None));
            assert!(passwords.check(&users, &given("alice:right"), CLIENT, now).await.unwrap().is_some());
        }
        assert_eq!(passwords.check(&users, &given("nobody:right"), CLIENT, now).await, Ok(None));
    }
}

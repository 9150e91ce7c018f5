//! Which addresses an endpoint's name has: looked up off the workers, again every 30 s while it is in use.
//!
//! The last good addresses are kept when a look-up fails, and served while a new one runs, so that a slow resolver
//! delays nobody but the very first request.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use super::error::Failure;

/// Addresses younger than this are not looked up again.
const FRESH: Duration = Duration::from_secs(30);
/// Addresses older than this are not used before a new look-up has answered.
const STALE: Duration = Duration::from_secs(300);
/// A name that failed is not looked up again within this.
const FAILED: Duration = Duration::from_secs(3);
/// Look-ups at a time: each holds a blocking thread.
const CONCURRENT: usize = 8;

type Lookup = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Looks names up on the control runtime's blocking threads.
pub(crate) struct Resolver {
    control: Handle,
    permits: Semaphore,
    lookup: Box<Lookup>,
}

impl Resolver {
    /// With the system's resolver.
    pub(crate) fn system(control: Handle) -> Arc<Self> {
        Self::with(control, |host, port| Ok((host, port).to_socket_addrs()?.collect()))
    }

    /// With any look-up; it may block.
    pub(crate) fn with<F>(control: Handle, lookup: F) -> Arc<Self>
    where
        F: Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    {
        Arc::new(Self { control, permits: Semaphore::new(CONCURRENT), lookup: Box::new(lookup) })
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

/// The addresses of one endpoint.
#[derive(Debug)]
pub(crate) enum Addresses {
    /// The config names the address itself.
    Literal(Arc<[SocketAddr]>),
    /// A name that is looked up.
    Name(Arc<Name>),
}

impl Addresses {
    pub(crate) fn new(host: &str, port: u16, resolver: &Arc<Resolver>) -> Self {
        match host.parse::<IpAddr>() {
            Ok(ip) => Self::Literal([SocketAddr::new(ip, port)].into()),
            Err(_) => Self::Name(Name::new(host, port, Arc::clone(resolver))),
        }
    }

    /// The addresses to connect to; waits only when there are none yet, or very old ones.
    pub(crate) async fn resolve(&self) -> Result<Arc<[SocketAddr]>, Failure> {
        match self {
            Self::Literal(addresses) => Ok(Arc::clone(addresses)),
            Self::Name(name) => name.resolve().await,
        }
    }

    /// Called for every request: looks the name up again when it is time.
    pub(crate) fn touch(&self, now: Instant) {
        if let Self::Name(name) = self {
            name.touch(now);
        }
    }

    /// What is known now, without waiting.
    pub(crate) fn known(&self) -> Arc<[SocketAddr]> {
        match self {
            Self::Literal(addresses) => Arc::clone(addresses),
            Self::Name(name) => Arc::clone(&name.state.lock().addresses),
        }
    }

    /// Grows whenever the addresses change.
    pub(crate) fn generation(&self) -> u64 {
        match self {
            Self::Literal(_) => 0,
            Self::Name(name) => name.generation.load(Ordering::Acquire),
        }
    }
}

/// A name, and what the last look-ups said.
#[derive(Debug)]
pub(crate) struct Name {
    host: Box<str>,
    port: u16,
    resolver: Arc<Resolver>,
    created: Instant,
    /// Milliseconds after `created` from when on a use looks the name up again.
    due_ms: AtomicU64,
    generation: AtomicU64,
    state: Mutex<State>,
    answered: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    addresses: Arc<[SocketAddr]>,
    /// When the addresses were confirmed last.
    resolved: Option<Instant>,
    failed: Option<(Instant, Arc<str>)>,
    running: bool,
}

/// What a request does with what is known.
enum Known {
    Use(Arc<[SocketAddr]>),
    Failed(Arc<str>),
    Wait(watch::Receiver<()>),
}

impl Name {
    fn new(host: &str, port: u16, resolver: Arc<Resolver>) -> Arc<Self> {
        let state = State { addresses: Arc::new([]), resolved: None, failed: None, running: false };
        Arc::new(Self {
            host: host.into(),
            port,
            resolver,
            created: Instant::now(),
            due_ms: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            state: Mutex::new(state),
            answered: watch::Sender::new(()),
        })
    }

    async fn resolve(self: &Arc<Self>) -> Result<Arc<[SocketAddr]>, Failure> {
        match self.consult(Instant::now()) {
            Known::Use(addresses) => return Ok(addresses),
            Known::Failed(why) => return Err(Failure::Dns(why)),
            Known::Wait(mut answered) => {
                // The sender lives in `self`.
                let _ = answered.changed().await;
            }
        }
        let state = self.state.lock();
        if state.addresses.is_empty() {
            let why = state.failed.as_ref().map_or_else(|| "no answer".into(), |(_, why)| Arc::clone(why));
            return Err(Failure::Dns(why));
        }
        Ok(Arc::clone(&state.addresses))
    }

    fn consult(self: &Arc<Self>, now: Instant) -> Known {
        let mut state = self.state.lock();
        let within =
            |at: Option<Instant>, limit| at.is_some_and(|at| now.saturating_duration_since(at) < limit);
        let just_failed = within(state.failed.as_ref().map(|(at, _)| *at), FAILED);
        if !within(state.resolved, FRESH) && !just_failed {
            self.start(&mut state);
        }
        if !state.addresses.is_empty() && (within(state.resolved, STALE) || just_failed) {
            return Known::Use(Arc::clone(&state.addresses));
        }
        match &state.failed {
            Some((_, why)) if just_failed => Known::Failed(Arc::clone(why)),
            _ => Known::Wait(self.answered.subscribe()),
        }
    }

    fn touch(self: &Arc<Self>, now: Instant) {
        let ms = millis(now.saturating_duration_since(self.created));
        if ms >= self.due_ms.load(Ordering::Relaxed) {
            self.start(&mut self.state.lock());
        }
    }

    /// Begins a look-up unless one is under way.
    fn start(self: &Arc<Self>, state: &mut State) {
        if std::mem::replace(&mut state.running, true) {
            return;
        }
        let name = Arc::clone(self);
        self.resolver.control.spawn(async move {
            let permit = name.resolver.permits.acquire().await;
            let blocking = Arc::clone(&name);
            let found = tokio::task::spawn_blocking(move || {
                (blocking.resolver.lookup)(&blocking.host, blocking.port)
            });
            let found = found.await.unwrap_or_else(|_| Err(io::Error::other("look-up broke off")));
            drop(permit);
            name.learn(found, Instant::now());
        });
    }

    fn learn(&self, found: io::Result<Vec<SocketAddr>>, now: Instant) {
        let mut state = self.state.lock();
        state.running = false;
        let pause = match found {
            Ok(addresses) if !addresses.is_empty() => {
                state.resolved = Some(now);
                state.failed = None;
                if *state.addresses != *addresses {
                    state.addresses = addresses.into();
                    self.generation.fetch_add(1, Ordering::Release);
                }
                FRESH
            }
            Ok(_) => {
                state.failed = Some((now, "it has no address".into()));
                FAILED
            }
            Err(error) => {
                tracing::debug!(host = %self.host, %error, "name does not resolve");
                state.failed = Some((now, error.to_string().into()));
                FAILED
            }
        };
        self.due_ms.store(millis((now + pause).saturating_duration_since(self.created)), Ordering::Relaxed);
        drop(state);
        self.answered.send_replace(());
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 80))
    }

    type Answer = Arc<Mutex<Result<Vec<SocketAddr>, &'static str>>>;

    /// A resolver whose answers a test sets, and how often it was asked.
    fn scripted() -> (Arc<Resolver>, Answer, Arc<AtomicUsize>) {
        let answer = Arc::new(Mutex::new(Ok(vec![address(1)])));
        let asked = Arc::new(AtomicUsize::new(0));
        let (told, count) = (Arc::clone(&answer), Arc::clone(&asked));
        let resolver = Resolver::with(Handle::current(), move |_, _| {
            count.fetch_add(1, Ordering::SeqCst);
            told.lock().clone().map_err(io::Error::other)
        });
        (resolver, answer, asked)
    }

    fn name(resolver: &Arc<Resolver>) -> Arc<Name> {
        Name::new("origin.test", 80, Arc::clone(resolver))
    }

    #[tokio::test]
    async fn a_literal_is_never_looked_up() {
        let (resolver, _, asked) = scripted();
        let addresses = Addresses::new("::1", 81, &resolver);
        assert_eq!(*addresses.resolve().await.unwrap(), ["[::1]:81".parse().unwrap()]);
        assert_eq!(asked.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn concurrent_first_uses_share_one_look_up() {
        let (resolver, _, asked) = scripted();
        let name = name(&resolver);
        let (a, b) = tokio::join!(name.resolve(), name.resolve());
        assert_eq!((a.unwrap().len(), b.unwrap().len()), (1, 1));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn the_last_good_addresses_survive_a_failure() {
        let (resolver, _, _) = scripted();
        let name = name(&resolver);
        let now = Instant::now();
        name.learn(Ok(vec![address(1), address(2)]), now);
        name.learn(Err(io::Error::other("gone")), now + FRESH);
        assert!(matches!(name.consult(now + STALE * 2), Known::Wait(_)));
        name.learn(Err(io::Error::other("gone")), now + STALE * 2);
        assert_eq!(name.resolve().await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_name_that_failed_is_asked_again_only_after_a_while() {
        let (resolver, answer, asked) = scripted();
        *answer.lock() = Err("no such host");
        let name = name(&resolver);
        assert!(matches!(name.resolve().await, Err(Failure::Dns(why)) if &*why == "no such host"));
        assert!(matches!(name.resolve().await, Err(Failure::Dns(_))));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        *answer.lock() = Ok(vec![address(1)]);
        assert!(matches!(name.consult(Instant::now() + FAILED), Known::Wait(_)));
    }

    #[tokio::test]
    async fn use_refreshes_and_a_change_moves_the_generation() {
        let (resolver, answer, asked) = scripted();
        let addresses = Addresses::Name(name(&resolver));
        addresses.resolve().await.unwrap();
        let (generation, now) = (addresses.generation(), Instant::now());
        addresses.touch(now);
        *answer.lock() = Ok(vec![address(2)]);
        let Addresses::Name(name) = &addresses else { panic!("it is a name") };
        let mut answered = name.answered.subscribe();
        addresses.touch(now + FRESH * 2);
        answered.changed().await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        assert_eq!(*addresses.known(), [address(2)]);
        assert!(addresses.generation() > generation);
    }
}

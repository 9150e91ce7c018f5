//! One endpoint: its addresses, its connections, and what is counted of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::balance::Reachability;
use super::connect::{self, Conn, Http1, Manner, TlsClient, TlsSettings, Violations};
use super::discover::{Addresses, Resolver};
use super::error::Failure;
use super::pool::{Checkout, Limits, Permit, Pool, Pooled, Sharing};
use super::settings::{EndpointSettings, HostPolicy, Http2Settings, Protocol, Settings};
use super::snapshot::{EndpointSnapshot, EndpointState};

/// One address of an upstream, with everything that a reload must not lose.
pub(crate) struct Endpoint {
    /// `host:port`.
    pub(crate) name: Arc<str>,
    pub(crate) identity: Identity,
    pub(crate) addresses: Addresses,
    pub(crate) pool: Arc<Pool<Conn>>,
    pub(crate) reachability: Reachability,
    pub(crate) counters: Counters,
    tls: Option<TlsClient>,
    /// For exchanges that HTTP/1.1 alone has.
    tls_http1: Option<TlsClient>,
    dials: AtomicUsize,
}

/// What must be the same for a connection to be reused after a reload.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Identity {
    tls: bool,
    host: Box<str>,
    port: u16,
    verified_name: Box<str>,
    ca: Vec<rustls_pki_types::CertificateDer<'static>>,
    protocol: Protocol,
    http2: Http2Settings,
}

impl Identity {
    pub(crate) fn new(settings: &Settings, endpoint: &EndpointSettings) -> Self {
        let verified_name = match &settings.host {
            HostPolicy::Fixed(name) if endpoint.tls => name.to_str().map_or(&*endpoint.host, host_of),
            _ => &endpoint.host,
        };
        Self {
            tls: endpoint.tls,
            host: endpoint.host.clone(),
            port: endpoint.port,
            verified_name: verified_name.into(),
            ca: if endpoint.tls { settings.ca.clone() } else { Vec::new() },
            protocol: settings.protocol,
            http2: settings.http2,
        }
    }

    fn sharing(&self) -> Sharing {
        match self.protocol {
            Protocol::Auto if self.tls => Sharing::Unknown,
            Protocol::Auto | Protocol::Http1 => Sharing::Alone,
            Protocol::Http2 => Sharing::Shared,
        }
    }
}

/// The host of an authority, without port and brackets.
fn host_of(authority: &str) -> &str {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') && (!host.contains(':') || host.ends_with(']')) => host,
        _ => authority,
    };
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Counted per endpoint since the process began.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connects: AtomicU64,
    pub(crate) connect_failures: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) reused: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) violations: Arc<Violations>,
    last_error: Mutex<Option<&'static str>>,
}

impl Counters {
    pub(crate) fn failed(&self, what: &'static str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        *self.last_error.lock() = Some(what);
    }
}

impl Endpoint {
    pub(crate) fn new(
        identity: Identity,
        limits: Limits,
        resolver: &Arc<Resolver>,
        trust: &Arc<TlsSettings>,
    ) -> Arc<Self> {
        let client = |protocol| TlsClient::new(Arc::clone(trust), &identity.verified_name, protocol);
        let tls = identity.tls.then(|| client(identity.protocol)).flatten();
        let tls_http1 = identity.tls.then(|| client(Protocol::Http1)).flatten();
        Arc::new(Self {
            name: authority(&identity.host, identity.port).into(),
            addresses: Addresses::new(&identity.host, identity.port, resolver),
            pool: Pool::new(limits, identity.sharing()),
            reachability: Reachability::new(Instant::now()),
            counters: Counters::default(),
            tls,
            tls_http1,
            dials: AtomicUsize::new(0),
            identity,
        })
    }

    /// A connection within `connect_timeout` and before `deadline`, and whether it served before; one that was not used
    /// for longer than `unused` only where no other is to be had.
    pub(crate) async fn connection(
        &self,
        unused: Duration,
        now: Instant,
        connect_timeout: Duration,
        deadline: Option<Instant>,
    ) -> Result<(Conn, bool), Failure> {
        let patience = now + connect_timeout;
        let until = deadline.map_or(patience, |deadline| deadline.min(patience));
        loop {
            match self.pool.checkout(unused, now, until).await? {
                // What leads to an address that the name has no more is closed.
                Checkout::Reuse(mut conn) => {
                    if self.still_leads_here(&mut conn) {
                        let reused = !matches!(&conn, Conn::Http2(stream) if !stream.reused);
                        return Ok((conn, reused));
                    }
                    conn.forsake();
                }
                Checkout::Dial(permit) => {
                    // Boxed: it is large, and rare beside reuse.
                    let made = Box::pin(self.connect(permit, until, self.manner())).await;
                    let hurried = until < patience && Instant::now() >= until;
                    self.tell_connect(&made, hurried);
                    return made.map(|conn| (conn, false));
                }
            }
        }
    }

    /// An idle connection of this worker that speaks HTTP/1.1, if there is one: it was found usable.
    pub(crate) fn at_hand(&self, now: Instant) -> Option<Http1> {
        while let Some(mut conn) = self.pool.at_hand(now) {
            if !self.still_leads_here(&mut conn) {
                conn.forsake();
            } else if let Conn::Http1(conn) = conn {
                return Some(conn);
            }
        }
        None
    }

    /// A connection that speaks HTTP/1.1 and that no other exchange is on, a new one if it can be had.
    pub(crate) async fn connection_aside(
        &self,
        now: Instant,
        connect_timeout: Duration,
        deadline: Option<Instant>,
    ) -> Result<(Conn, bool), Failure> {
        let patience = now + connect_timeout;
        let until = deadline.map_or(patience, |deadline| deadline.min(patience));
        match self.pool.checkout_aside(now, until).await? {
            Checkout::Reuse(conn @ Conn::Http1(_)) => Ok((conn, true)),
            // There is no room but on one that others use as well.
            Checkout::Reuse(conn) => {
                drop(conn.keepable());
                Err(Failure::QueueFull)
            }
            Checkout::Dial(permit) => {
                let manner =
                    Manner { tls: self.tls_http1.as_ref(), protocol: Protocol::Http1, ..self.manner() };
                let made = Box::pin(self.connect(permit, until, manner)).await;
                self.tell_connect(&made, until < patience && Instant::now() >= until);
                made.map(|conn| (conn, false))
            }
        }
    }

    fn manner(&self) -> Manner<'_> {
        let Identity { protocol, ref http2, .. } = self.identity;
        Manner { tls: self.tls.as_ref(), protocol, http2 }
    }

    async fn connect(
        &self,
        permit: Permit<Conn>,
        until: Instant,
        manner: Manner<'_>,
    ) -> Result<Conn, Failure> {
        if self.identity.tls && self.tls.is_none() {
            let error = std::io::Error::other("not a name that a certificate can be valid for");
            return Err(Failure::Tls(error));
        }
        let until = until.into();
        let resolved = tokio::time::timeout_at(until, self.addresses.resolve()).await;
        let addresses = resolved.unwrap_or_else(|_| Err(Failure::Dns("no answer in time".into())))?;
        let generation = self.addresses.generation();
        let turn = self.dials.fetch_add(1, Ordering::Relaxed);
        let made = tokio::time::timeout_at(until, async {
            let stream = connect::dial(&addresses, turn).await.map_err(Failure::from_io)?;
            let violations = self.counters.violations.clone();
            connect::open(stream, manner, &self.pool, permit, generation, violations).await
        });
        made.await.unwrap_or(Err(Failure::ConnectTimeout))
    }

    /// `hurried`: the exchange had less time than connecting may take, which says nothing of the endpoint.
    fn tell_connect(&self, made: &Result<Conn, Failure>, hurried: bool) {
        match made {
            Ok(_) => {
                self.counters.connects.fetch_add(1, Ordering::Relaxed);
                self.reachability.connected();
            }
            Err(failure) => {
                tracing::debug!(endpoint = %self.name, %failure, "connect failed");
                self.counters.connect_failures.fetch_add(1, Ordering::Relaxed);
                if !hurried {
                    self.reachability.refused(Instant::now());
                    self.pool.dial_failed();
                }
            }
        }
    }

    fn still_leads_here(&self, conn: &mut Conn) -> bool {
        let generation = self.addresses.generation();
        if conn.generation() != generation {
            if !self.addresses.known().contains(&conn.peer()) {
                return false;
            }
            conn.set_generation(generation);
        }
        true
    }

    pub(crate) fn snapshot(&self, settings: &EndpointSettings) -> EndpointSnapshot {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (shared, streams) = self.pool.shared();
        EndpointSnapshot {
            endpoint: Arc::clone(&self.name),
            tls: settings.tls,
            weight: settings.weight,
            backup: settings.backup,
            state: if self.reachability.is_skipped() { EndpointState::Skipped } else { EndpointState::Up },
            connections: self.pool.open(),
            idle: self.pool.idle(),
            http2_connections: shared,
            streams,
            pending: self.pool.waiting(),
            connects: count(&self.counters.connects),
            connect_failures: count(&self.counters.connect_failures),
            requests: count(&self.counters.requests),
            reused: count(&self.counters.reused),
            failures: count(&self.counters.failures),
            violations: self.counters.violations.all(),
            last_error: *self.counters.last_error.lock(),
            addresses: self.addresses.known().to_vec(),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("name", &self.name).finish_non_exhaustive()
    }
}

/// `host:port`, with brackets around an IPv6 address.
pub(crate) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_authority() {
        for (given, host) in [
            ("api.example.com", "api.example.com"),
            ("api.example.com:8443", "api.example.com"),
            ("[::1]:8443", "::1"),
            ("[::1]", "::1"),
            ("::1", "::1"),
        ] {
            assert_eq!(host_of(given), host, "{given}");
        }
    }
}

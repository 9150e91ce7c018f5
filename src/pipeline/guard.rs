//! Where the leak guard looks on: which requests compare what they get, and what follows from it.

use http::{HeaderMap, Method, header};
use http_body_util::BodyExt;

use super::fetch::Brought;
use super::flight::Fetch;
use super::inbound::Inbound;
use crate::cache::entry::{BodyRef, Entry};
use crate::cache::key::{Digest, FieldHash, Secret};
pub(super) use crate::cache::leak::DETAIL;
use crate::cache::leak::{Sight, Standing, Told};
use crate::cache::policy::RequestPolicy;
use crate::cache::purge::Criterion;
use crate::cache::spool::SpooledBody;
use crate::cache::store::{EntryId, Inserted, NewEntry};
use crate::upstream::{FetchRequest, RequestBody};

/// What the guard knows of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guard {
    /// The hash of its credentials, or of there being none.
    pub(super) who: FieldHash,
    /// Its reply is for itself alone, and compared.
    pub(super) compares: bool,
    /// With what is stored, where anything is.
    pub(super) expected: Option<(EntryId, Sight)>,
}

/// What is sent to ask once more.
#[derive(Clone, Debug)]
pub(super) struct Again {
    pub(super) guard: Guard,
    pub(super) method: Method,
    pub(super) target: http::uri::PathAndQuery,
    pub(super) client_host: http::HeaderValue,
    pub(super) body: Option<bytes::Bytes>,
}

impl Guard {
    pub(super) fn of(headers: &HeaderMap, secret: &Secret) -> Self {
        let lines = [header::AUTHORIZATION, header::COOKIE].map(|name| {
            let values = headers.get_all(name).iter().map(http::HeaderValue::as_bytes);
            secret.hash(values).0
        });
        Self { who: secret.hash([&lines[0][..], &lines[1][..]]), compares: false, expected: None }
    }
}

/// Whether a reply to this request can be compared: a part or a 304 cannot.
pub(super) fn is_comparable(inbound: &Inbound, policy: &RequestPolicy) -> bool {
    inbound.head.method != Method::HEAD && !policy.conditional && !policy.range
}

/// An entry as it compares.
pub(super) fn sight_of(digest: Digest, entry: &Entry) -> (EntryId, Sight) {
    let id = EntryId::new(digest, &entry.vary);
    let body = match &entry.body {
        BodyRef::Bytes(bytes) => *blake3::hash(bytes).as_bytes(),
        BodyRef::File(file) => file.hash,
    };
    (id, Sight::new(id.variant, entry.head.status.as_u16(), Some(body)))
}

impl Fetch {
    /// Whether what it brings is for its own client, however storable.
    pub(super) fn compares(&self) -> bool {
        self.again.as_ref().is_some_and(|again| again.guard.compares)
    }

    /// Stores a reply. On a guarded route it is known by whom, or nobody else's; none is stored in part, nor while the key
    /// is suspect.
    pub(super) fn store(&self, id: EntryId, entry: NewEntry, body: SpooledBody) {
        let Some(again) = &self.again else {
            self.cache.insert(entry, body);
            return;
        };
        let leaks = self.cache.leaks();
        if entry.part.is_some() || leaks.standing(id.digest, self.clock.now()) != Standing::Free {
            return;
        }
        let _one = leaks.storing(id);
        if matches!(self.cache.insert(entry, body), Inserted::Stored | Inserted::MemoryOnly) {
            leaks.stored(id, again.guard.who);
        }
    }

    /// Compares a reply that is not stored for another reason: its status says enough.
    pub(super) async fn compare_head(&self, brought_status: http::StatusCode) {
        if self.compares() && !brought_status.is_server_error() {
            self.compare(Sight::new([0; 16], brought_status.as_u16(), None)).await;
        }
    }

    /// Compares what this credential got, and sees to what follows.
    pub(super) async fn compare(&self, sight: Sight) {
        let Some(again) = &self.again else { return };
        let (leaks, digest, now) = (self.cache.leaks(), self.key.digest(), self.clock.now());
        let reply = (again.guard.who, sight, &self.unconditional);
        match leaks.told(digest, reply, again.guard.expected, now) {
            Told::Nothing => {}
            Told::Suspect => self.cache.invalidate(Criterion::Key(digest)),
            Told::AskAgain(headers, before) => {
                if self.ask_again(again, headers).await == Some(before) {
                    self.found(digest);
                }
            }
        }
    }

    fn found(&self, digest: Digest) {
        let url = self.key.url();
        self.cache.leaks().mark(digest, &url, self.clock.now());
        self.cache.invalidate(Criterion::Key(digest));
        tracing::warn!(
            url,
            route = &*self.route.name,
            "replies under one key differ by credential: it is not stored for an hour; its origin should call them private"
        );
    }

    /// What the credential before gets now.
    async fn ask_again(&self, again: &Again, headers: HeaderMap) -> Option<Sight> {
        let body = again.body.clone().map_or(RequestBody::Empty, RequestBody::Full);
        let request = FetchRequest {
            headers,
            client_host: again.client_host.clone(),
            body,
            repeatable: true,
            ..FetchRequest::new(again.method.clone(), again.target.clone())
        };
        let brought = self.fetch(request).await.ok()?;
        let status = brought.status().as_u16();
        match self.plan_whole(&brought) {
            Err(_) => Some(Sight::new([0; 16], status, None)),
            Ok((entry, _)) => {
                let variant = variant(&entry);
                Some(Sight::new(variant, status, Some(self.read(*brought).await?)))
            }
        }
    }

    /// The hash of a body, if it comes whole and is none too large.
    async fn read(&self, brought: Brought) -> Option<[u8; 32]> {
        let (mut body, mut length) = (Box::into_pin(brought.body), 0);
        let mut hasher = blake3::Hasher::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.ok()?.into_data() else { continue };
            length += data.len() as u64;
            if length > self.limits.max_body {
                return None;
            }
            hasher.update(&data);
        }
        Some(*hasher.finalize().as_bytes())
    }
}

/// Which variant a reply is.
pub(super) fn variant(entry: &NewEntry) -> [u8; 16] {
    EntryId::new(entry.key.digest(), &entry.vary).variant
}

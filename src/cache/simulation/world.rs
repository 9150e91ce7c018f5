//! What happens: actors that take random steps against one cache, and the checks of what they get.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use parking_lot::Mutex;

use super::model::{Life, Model, Purge, Seen, Target};
use crate::cache::Cache;
use crate::cache::entry::Entry;
use crate::cache::key::KeyParts;
use crate::cache::policy::request::MethodKind;
use crate::cache::policy::validate::{self, Upkeep};
use crate::cache::policy::{self, RequestPolicy, ResponseHead, Reuse, Rules, StaleWhy, Storable, vary};
use crate::cache::store::{EntryId, Freshened, Inserted, ListQuery, NewEntry, Resource, State};
use crate::clock::{Clock, Timestamp};
use crate::http::date;

const GET: RequestPolicy = RequestPolicy::plain(MethodKind::Get);
const LANGUAGE: HeaderName = HeaderName::from_static("accept-language");
const SERIAL: HeaderName = HeaderName::from_static("x-serial");
const LIFE: HeaderName = HeaderName::from_static("x-life");

/// A cache and the account of what it must do.
pub(super) struct World {
    pub(super) cache: Arc<Cache>,
    clock: Clock,
    rules: Rules,
    /// Counts what happens, over all actors.
    count: AtomicU64,
    model: Mutex<Model>,
    seen: Mutex<Seen>,
    /// What is stored and not purged must be found.
    complete: bool,
}

/// Who takes steps, and what it has under way.
pub(super) struct Actor {
    random: fastrand::Rng,
    fetches: Vec<Fetch>,
}

/// A fetch under way.
struct Fetch {
    target: Target,
    sequence: u64,
    began: u64,
    request_time: Timestamp,
    validates: Option<Arc<Entry>>,
}

impl Fetch {
    fn response<'h>(&self, response_time: Timestamp, headers: &'h HeaderMap) -> ResponseHead<'h> {
        ResponseHead { status: StatusCode::OK, headers, request_time: self.request_time, response_time }
    }
}

impl Actor {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), fetches: Vec::new() }
    }

    fn target(&mut self) -> Target {
        // Low ones are asked for more often.
        let path = self.random.u64(0..60).min(self.random.u64(0..60));
        let target = Target { host: self.random.u64(0..3), path, language: 0 };
        let language = if target.varies() { self.random.u64(0..3) } else { 0 };
        Target { language, ..target }
    }

    pub(super) async fn step(&mut self, world: &World) {
        match self.random.u32(0..1000) {
            0..500 => {
                let target = self.target();
                world.look(target).await;
            }
            500..700 if self.fetches.len() < 64 => self.begin(world, false),
            700..760 if self.fetches.len() < 64 => self.begin(world, true),
            500..900 => self.finish(world).await,
            900..904 => self.purge(world).await,
            904..906 => world.remove(self.target()),
            _ => world.clock.advance(Duration::from_millis(self.random.u64(0..400))),
        }
    }

    fn begin(&mut self, world: &World, validates: bool) {
        let target = self.target();
        let sequence = world.cache.sequence();
        let began = world.tick();
        let validates = match world.lookup(target) {
            Some((entry, _)) if validates => Some(entry),
            _ if validates => return,
            _ => None,
        };
        let request_time = world.clock.now();
        self.fetches.push(Fetch { target, sequence, began, request_time, validates });
    }

    async fn finish(&mut self, world: &World) {
        if self.fetches.is_empty() {
            return;
        }
        let fetch = self.fetches.swap_remove(self.random.usize(0..self.fetches.len()));
        match (self.random.u32(0..10), &fetch.validates) {
            (0, _) => self.abort(world).await,
            (1..8, Some(entry)) => self.freshen(world, &fetch, entry),
            _ => self.store(world, &fetch).await,
        }
    }

    /// The origin breaks off, or its reader leaves.
    async fn abort(&mut self, world: &World) {
        let mut spool = world.cache.spool(None, None);
        spool.append(Bytes::from(vec![b'x'; self.random.usize(1..9000)])).await;
        world.seen.lock().aborted += 1;
    }

    /// The fields of a reply, and what they promise.
    fn reply(&mut self, world: &World, fetch: &Fetch, serial: u64, length: usize) -> (u64, Life, HeaderMap) {
        let id = world.tick();
        let now = world.clock.now();
        let life = Life {
            target: fetch.target,
            serial,
            length,
            began: fetch.began,
            response_time: now,
            initial_age: self.random.u64(0..4) + now.since(fetch.request_time).as_secs(),
            lifetime: [0, 1, 5, 30, 300][self.random.usize(0..5)],
            while_revalidate: [0, 0, 10][self.random.usize(0..3)],
            must_revalidate: self.random.u32(0..4) == 0,
            keep_until: Timestamp::default(),
        };
        let mut headers = HeaderMap::new();
        let mut add = |name: &'static str, value: String| {
            headers.append(name, HeaderValue::try_from(value).expect("a field value"));
        };
        add("age", (life.initial_age - now.since(fetch.request_time).as_secs()).to_string());
        add("cache-control", format!("max-age={}", life.lifetime));
        if life.while_revalidate > 0 {
            add("cache-control", format!("stale-while-revalidate={}", life.while_revalidate));
        }
        if life.must_revalidate {
            add("cache-control", "must-revalidate".into());
        }
        add("etag", format!("\"{serial}\""));
        add("x-serial", serial.to_string());
        add("x-life", id.to_string());
        if life.target.varies() {
            add("vary", "Accept-Language".into());
        }
        headers.insert("date", date::header_value(now));
        (id, life, headers)
    }

    async fn store(&mut self, world: &World, fetch: &Fetch) {
        let serial = world.tick();
        let length = match self.random.u32(0..100) {
            0 => self.random.usize(60_000..140_000),
            1..6 => self.random.usize(4000..9000),
            _ => self.random.usize(0..400),
        };
        let (id, mut life, mut headers) = self.reply(world, fetch, serial, length);
        let forbidden = self.random.u32(0..20) == 0;
        if forbidden {
            let word = ["no-store", "private"][self.random.usize(0..2)];
            headers.append("cache-control", HeaderValue::from_static(word));
        }
        let response = fetch.response(life.response_time, &headers);
        let Storable::Store(plan) = policy::storable(&GET, &response, &world.rules) else {
            assert!(forbidden, "{headers:?} may be stored");
            return;
        };
        assert!(!forbidden, "{headers:?} may not be stored");
        let head = plan.entry_head(&response);
        let request = request_of(fetch.target);
        life.keep_until = policy::store::keep_until(&head, world.cache.settings().keep);
        let new = NewEntry {
            key: key(&fetch.target.authority(), &fetch.target.path(), &request)
                .to_stored(world.cache.secret()),
            vary: vary::vary_key(&request, &headers, world.cache.secret()).expect("no Vary: *"),
            keep_until: life.keep_until,
            tags: vec![fetch.target.tag().into()],
            route: fetch.target.route().into(),
            sequence: fetch.sequence,
            part: None,
            wanted: false,
            head,
        };
        let mut spool = world.cache.spool((length % 2 == 0).then_some(length as u64), Some(&new));
        let body = body(&life);
        for part in body.chunks(10_000) {
            spool.append(Bytes::copy_from_slice(part)).await;
        }
        let spooled = spool.finish(None).await;
        // Before it can be found.
        world.model.lock().lives.insert(id, life);
        match world.cache.insert(new, spooled) {
            Inserted::Purged => world.seen.lock().purged_in_flight += 1,
            Inserted::Stored | Inserted::MemoryOnly => {
                world.model.lock().standing.insert(fetch.target, id);
            }
            Inserted::TooLarge | Inserted::Unproven | Inserted::Superseded => {
                assert!(!world.complete, "there is room")
            }
        }
    }

    /// The origin says 304.
    fn freshen(&mut self, world: &World, fetch: &Fetch, entry: &Arc<Entry>) {
        let old = world.life_of(entry);
        let fetch = Fetch { target: old.target, validates: None, ..*fetch };
        let (id, mut life, headers) = self.reply(world, &fetch, old.serial, old.length);
        let updated =
            validate::freshen(&entry.head, &GET, &fetch.response(life.response_time, &headers), &world.rules);
        assert_eq!(updated.upkeep, Upkeep::Replace);
        life.keep_until = policy::store::keep_until(&updated.head, world.cache.settings().keep);
        let with = Freshened {
            head: updated.head,
            tags: entry.tags.clone(),
            keep_until: life.keep_until,
            sequence: fetch.sequence,
        };
        let gone = {
            let mut model = world.model.lock();
            model.lives.insert(id, life);
            // Another validation may have made it younger than what a purge by age takes.
            model.hard.of(old.target).takes_of_any_age(&old)
        };
        let digest = entry.key.digest();
        let Some(freshened) = world.cache.freshen(EntryId::of(digest, entry), &entry.head, with) else {
            return;
        };
        assert!(!gone, "freshened after its purge: {old:?}");
        assert_eq!(field(&freshened, &SERIAL), old.serial, "the head of another reply");
        // A later validation may have been faster.
        if field(&freshened, &LIFE) == id {
            world.seen.lock().freshened += 1;
            world.model.lock().standing.insert(fetch.target, id);
        }
    }

    async fn purge(&mut self, world: &World) {
        let target = self.target();
        let ago = Duration::from_secs(self.random.u64(0..60));
        let purge = match self.random.u32(0..200) {
            0..80 => Purge::Key(target),
            80..140 => Purge::Url(target),
            140..150 => Purge::Directory(target),
            150..160 => Purge::Glob(target),
            160..165 => Purge::Host(target),
            165..185 => Purge::Tag(target),
            185..190 => Purge::Route(target),
            190..198 => Purge::Before(world.clock.now().minus(ago)),
            _ => Purge::All,
        };
        let request = request_of(target);
        let digest = key(&target.authority(), &target.path(), &request).digest(world.cache.secret());
        let criterion = purge.criterion(digest);
        let at = world.tick();
        match self.random.u32(0..4) {
            0 => {
                world.cache.purge(criterion, true).await.expect("the journal takes it");
                world.model.lock().soft.add(purge, at);
            }
            1 => {
                world.cache.purge(criterion, false).await.expect("the journal takes it");
                world.model.lock().hard.add(purge, at);
            }
            _ => {
                world.cache.invalidate(criterion);
                world.model.lock().hard.add(purge, at);
            }
        }
    }
}

impl World {
    pub(super) fn new(cache: Arc<Cache>, clock: Clock) -> Self {
        Self {
            cache,
            clock,
            rules: Rules::default(),
            count: AtomicU64::new(1),
            model: Mutex::default(),
            seen: Mutex::default(),
            complete: false,
        }
    }

    /// Nothing is lost but by purges and age.
    pub(super) fn complete(self) -> Self {
        Self { complete: true, ..self }
    }

    /// The same world after a restart.
    pub(super) fn reopened(self, cache: Arc<Cache>) -> Self {
        Self { cache, ..self }
    }

    pub(super) fn seen(&self) -> Seen {
        *self.seen.lock()
    }

    fn tick(&self) -> u64 {
        self.count.fetch_add(1, SeqCst)
    }

    fn lookup(&self, target: Target) -> Option<(Arc<Entry>, Arc<Resource>)> {
        let (request, authority, path) = (request_of(target), target.authority(), target.path());
        let parts = key(&authority, &path, &request);
        let resource = self.cache.lookup(&parts, parts.digest(self.cache.secret()))?;
        let entry =
            vary::select(&resource.variants, &request, self.cache.secret(), self.clock.now())?.clone();
        Some((entry, resource))
    }

    fn life_of(&self, entry: &Entry) -> Life {
        let life = self.model.lock().lives.get(&field(entry, &LIFE)).cloned();
        life.expect("somebody stored it")
    }

    /// Looks something up as the pipeline does, and checks what comes.
    async fn look(&self, target: Target) {
        // What was purged before the lookup began must not come.
        let (purged, purged_softly) = {
            let model = self.model.lock();
            (model.hard.of(target), model.soft.of(target))
        };
        let now = self.clock.now();
        let found = self.lookup(target);
        if self.complete {
            self.expect_standing(target, now, found.as_ref().map(|(entry, _)| &**entry));
        }
        let Some((entry, resource)) = found else {
            self.seen.lock().missed += 1;
            return;
        };
        let life = self.life_of(&entry);
        assert_eq!(life.target, target, "a reply crossed keys");
        assert!(!purged.takes(&life), "served after its purge: {life:?}");
        assert!(resource.variants.len() <= self.cache.settings().max_variants, "variants are bounded");
        let reuse = policy::reuse(&GET, &entry.head, entry.soft_purged, &self.rules, now);
        match reuse {
            Reuse::Fresh { .. } => {
                assert!(life.is_fresh(now), "called fresh past its life at {now:?}: {life:?}");
                assert!(!purged_softly.takes(&life), "called fresh after a soft purge: {life:?}");
                self.seen.lock().fresh += 1;
            }
            Reuse::StaleAllowed { why, .. } => {
                assert_eq!(why, StaleWhy::WhileRevalidate);
                assert!(life.may_be_stale(now), "served stale at {now:?}: {life:?}");
                self.seen.lock().stale += 1;
            }
            Reuse::Validate { .. } | Reuse::Unusable => {}
        }
        self.read(&entry, &life).await;
    }

    /// A single actor in a cache with room: what is found is what was stored last.
    fn expect_standing(&self, target: Target, now: Timestamp, found: Option<&Entry>) {
        let model = self.model.lock();
        let Some(id) = model.standing.get(&target) else { return };
        let life = &model.lives[id];
        if !model.hard.take(life) && now < life.keep_until {
            let found = found.map(|entry| field(entry, &LIFE));
            assert_eq!(found, Some(*id), "lost: {life:?}");
        }
    }

    async fn read(&self, entry: &Arc<Entry>, life: &Life) {
        // A file may be gone by the time it is read: room was made, or it was replaced.
        let Ok(mut reader) = self.cache.read_body(entry, 0..u64::MAX).await else {
            assert!(!self.complete, "its body is gone: {life:?}");
            return;
        };
        let mut bytes = Vec::with_capacity(life.length);
        while let Some(part) = std::future::poll_fn(|cx| reader.poll_next(cx)).await {
            bytes.extend_from_slice(&part.expect("what was opened can be read"));
        }
        assert!(bytes == body(life), "another body: {life:?}");
    }

    fn remove(&self, target: Target) {
        let Some((entry, _)) = self.lookup(target) else { return };
        self.cache.remove(EntryId::of(entry.key.digest(), &entry));
        self.model.lock().standing.remove(&target);
    }

    /// Waits until what was asked is done, and compares accounts with contents.
    pub(super) async fn settle(&self) {
        while self.cache.stats().queue_depth > 0 || self.cache.stats().rules_active > 0 {
            tokio::task::yield_now().await;
        }
        let (held, weight) = self.cache.held();
        let stats = self.cache.stats();
        assert_eq!(weight, stats.memory_bytes, "what RAM holds, and what it accounts for");
        assert!(stats.memory_bytes <= stats.memory_limit, "{stats:?}");
        let listed = self.listed().await;
        let now = self.clock.now();
        let model = self.model.lock();
        let life = |entry: &Entry| &model.lives[&field(entry, &LIFE)];
        for entry in &listed {
            assert!(!model.hard.take(life(entry)), "still listed after its purge: {:?}", life(entry));
        }
        if self.cache.state() == State::Off {
            // What has outlived its use goes when room is needed.
            let useful = |entry: &&Arc<Entry>| entry.keep_until > now && !model.hard.take(life(entry));
            assert_eq!(listed.len(), held.iter().filter(useful).count());
        }
    }

    async fn listed(&self) -> Vec<Arc<Entry>> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.cache.list(ListQuery { cursor, limit: 1000, ..ListQuery::default() }).await;
            all.extend(page.entries.into_iter().map(|summary| summary.entry));
            match page.next {
                None => return all,
                next => cursor = next,
            }
        }
    }
}

fn field(entry: &Entry, name: &HeaderName) -> u64 {
    let value = entry.head.headers.get(name).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.parse().ok()).expect("every reply has it")
}

fn request_of(target: Target) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(LANGUAGE, HeaderValue::from(target.language));
    headers
}

fn key<'a>(authority: &'a str, target: &'a str, headers: &'a HeaderMap) -> KeyParts<'a> {
    KeyParts { upstream: "api", scheme: "http", authority, target, fields: &[], headers, extra: &[] }
}

/// A body that says whose it is, from beginning to end.
fn body(life: &Life) -> Vec<u8> {
    let Life { target, serial, length, .. } = life;
    let word = format!("{serial} {} {} {};", target.host, target.path, target.language);
    word.bytes().cycle().take(*length).collect()
}

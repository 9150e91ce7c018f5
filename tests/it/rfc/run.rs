//! Runs a table: one origin and one proxy for all of it, a path for each case.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use proxy_stone::clock::Clock;
use proxy_stone::http::date;

use super::case::{Ask, Case, Expected, Said, Step};
use crate::support::{Answer, Call, Origin, Proxy, Reply, noon, pass, request, until, within};

/// Cases, and the route that they are about.
pub struct Table {
    /// What the route's `cache` is.
    pub cache: &'static str,
    pub cases: Vec<Case>,
}

#[allow(dead_code)] // the vocabulary of all tables
impl Table {
    /// With `cache = {}`.
    pub fn of(cases: Vec<Case>) -> Self {
        Self { cache: "{}", cases }
    }

    /// With another policy.
    pub fn under(cache: &'static str, cases: Vec<Case>) -> Self {
        Self { cache, cases }
    }
}

/// Runs a table with everything in RAM.
pub async fn table(table: &Table) {
    Run::start(table, "").await.all(table).await;
}

/// Runs a table with everything on disk, and no room in RAM.
pub async fn on_disk(table: &Table) {
    Run::start(table, "\n[store]\nmemory = \"1B\"").await.all(table).await;
}

/// What the origin says at each path, and what it was asked there.
#[derive(Default)]
struct Script {
    says: HashMap<String, Said>,
    asked: HashMap<String, Vec<Asked>>,
}

/// A request that came to the origin.
#[derive(Clone)]
struct Asked {
    fields: crate::support::Fields,
    not_modified: bool,
}

struct Run {
    proxy: Proxy,
    clock: Clock,
    script: Arc<Mutex<Script>>,
    on_disk: bool,
    _origin: Origin,
}

impl Run {
    async fn start(table: &Table, store: &str) -> Self {
        let (clock, script) = (noon(), Arc::new(Mutex::new(Script::default())));
        let (at_origin, its_clock) = (script.clone(), clock.clone());
        let origin =
            Origin::start(async move |call: &mut Call| serve(call, &at_origin, &its_clock).await).await;
        let config = format!("upstream = \"{}\"\ncache = {}{store}", origin.url(), table.cache);
        let on_disk = !store.is_empty();
        let starting = Proxy::of(config).clock(&clock);
        let starting = if on_disk { starting.on_disk() } else { starting };
        Self { proxy: starting.start().await, clock, script, on_disk, _origin: origin }
    }

    async fn all(&self, table: &Table) {
        let mut failures = Vec::new();
        for (index, case) in table.cases.iter().enumerate() {
            if let Err(failure) = self.case(&format!("/{index}"), case).await {
                failures.push(format!("{}: {}\n    {failure}", case.rule, case.name));
            }
        }
        let (failed, all) = (failures.len(), table.cases.len());
        assert!(failures.is_empty(), "{failed} of {all} cases failed\n{}", failures.join("\n"));
    }

    async fn case(&self, path: &str, case: &Case) -> Result<(), String> {
        for (at, step) in case.steps.iter().enumerate() {
            match step {
                Step::Says(said) => {
                    self.script.lock().says.insert(path.to_owned(), said.clone());
                }
                Step::Pass(seconds) => pass(&self.clock, *seconds),
                Step::Asks(ask) => {
                    self.ask(path, ask).await.map_err(|failure| format!("step {at}: {failure}"))?
                }
            }
        }
        Ok(())
    }

    async fn ask(&self, path: &str, ask: &Ask) -> Result<(), String> {
        let before = self.asked(path);
        let now = self.clock.now();
        let fields: Vec<String> = ask.fields.iter().map(|field| dated(field, now)).collect();
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        let target = format!("{path}{}", ask.suffix);
        let reply = self.reply(ask, &target, &fields).await;
        until("the fetch ends", || self.proxy.instance.proxy.flights() == 0).await;
        if self.on_disk {
            self.proxy.written().await;
        }
        let asked = self.asked(path).split_off(before.len());
        let unmet = ask.expected.iter().filter_map(|expected| unmet(expected, &reply, &asked, now).err());
        let unmet: Vec<String> = unmet.collect();
        if unmet.is_empty() {
            return Ok(());
        }
        let told = format!("{} {:?} {:?}", reply.status, reply.fields.0, reply.body);
        Err(format!("{} {:?}: {}; the reply was {told}", ask.method, ask.fields, unmet.join("; ")))
    }

    /// The reply; one that broke off before its head is one that broke off.
    async fn reply(&self, ask: &Ask, target: &str, fields: &[&str]) -> Reply {
        let mut client = self.proxy.connect().await;
        if !ask.expected.iter().any(|expected| matches!(expected, Expected::Broken)) {
            return client.ask(&ask.method, target, fields, &ask.body).await;
        }
        client.say(request(&ask.method, target, fields, &ask.body)).await;
        match within(client.wire.head()).await {
            Some(head) => client.rest_of(head).await,
            None => Reply::default(),
        }
    }

    fn asked(&self, path: &str) -> Vec<Asked> {
        self.script.lock().asked.get(path).cloned().unwrap_or_default()
    }
}

/// Answers as the script says.
async fn serve(call: &mut Call, script: &Mutex<Script>, clock: &Clock) {
    let path = call.target().split('?').next().unwrap_or_default().to_owned();
    let path = format!("/{}", path.split('/').nth(1).unwrap_or_default());
    let (said, nth) = {
        let script = script.lock();
        (script.says.get(&path).cloned(), script.asked.get(&path).map_or(0, Vec::len) + 1)
    };
    let fields = call.request.fields.clone();
    let mut not_modified = false;
    let said = said.unwrap_or(Said::Nothing);
    if let Said::Reply { fields: own, .. } = &said {
        not_modified = matches!(call.method(), "GET" | "HEAD") && holds(&fields, own, clock);
    }
    script.lock().asked.entry(path).or_default().push(Asked { fields, not_modified });
    match said {
        Said::Nothing => call.cut(),
        Said::Bytes { text, close } => {
            call.say(dated(&text, clock.now())).await;
            if close {
                call.cut();
            }
        }
        Said::Reply { status, fields, body, delay } => {
            pass(clock, delay);
            let mut answer = Answer::new(if not_modified { 304 } else { status });
            for field in &fields {
                let field = dated(field, clock.now());
                let (name, value) = field.split_once(':').expect("a field line");
                answer = answer.field(name, value.trim_start());
            }
            if !not_modified && !matches!(status, 204 | 304) {
                answer = answer.body(body.unwrap_or_else(|| format!("reply {nth}")));
            }
            call.answer(&answer).await;
        }
    }
}

/// Whether a request's condition holds for a reply with these fields.
fn holds(request: &crate::support::Fields, own: &[String], clock: &Clock) -> bool {
    let value = |name: &str| {
        own.iter().find_map(|field| {
            let (own_name, value) = field.split_once(':')?;
            own_name.eq_ignore_ascii_case(name).then(|| dated(value.trim(), clock.now()))
        })
    };
    match request.get("if-none-match") {
        Some(tags) => value("etag").is_some_and(|tag| tags.contains(&tag)),
        None => {
            let since = request.get("if-modified-since");
            since.is_some() && since.map(str::to_owned) == value("last-modified")
        }
    }
}

fn unmet(
    expected: &Expected,
    reply: &Reply,
    asked: &[Asked],
    now: proxy_stone::clock::Timestamp,
) -> Result<(), String> {
    let is = |holds: bool, what: String| if holds { Ok(()) } else { Err(what) };
    let one = |name: &str| reply.fields.all(name);
    match expected {
        Expected::Hit => is(asked.is_empty(), "the origin was asked".into()),
        Expected::Miss => {
            let own = asked.last().is_some_and(|asked| !asked.not_modified || reply.status == 304);
            is(own, format!("not the origin's own reply, which was asked {} times", asked.len()))
        }
        Expected::Validated => {
            let stored = asked.last().is_some_and(|asked| asked.not_modified) && reply.status != 304;
            is(stored, "not validated".into())
        }
        Expected::Status(status) => is(reply.status == *status, format!("not {status}")),
        Expected::Body(text) => is(reply.body == text.as_bytes(), format!("not {text:?}")),
        Expected::Field(name, value) => {
            let value = dated(value, now);
            is(one(name) == [value.as_str()], format!("not {name}: {value}"))
        }
        Expected::Fields(name, values) => is(one(name) == *values, format!("not {name}: {values:?}")),
        Expected::Lacks(name) => is(one(name).is_empty(), format!("has {name}")),
        Expected::Trailer(name, value) => {
            let all = reply.trailers.all(name);
            is(all.first().copied() == value.as_deref(), format!("trailer {name} is {all:?}"))
        }
        Expected::Broken => is(!reply.whole, "looks whole".into()),
        Expected::Forwarded(name, value) => {
            let Some(last) = asked.last() else { return Err("the origin was not asked".into()) };
            let value = value.as_ref().map(|value| dated(value, now));
            let all = last.fields.all(name);
            is(
                all.first().copied() == value.as_deref() && all.len() <= 1,
                format!("forwarded {name}: {all:?}"),
            )
        }
        Expected::Interim(statuses) => {
            let came: Vec<u16> = reply.interim.iter().map(|head| head.status()).collect();
            is(came == *statuses, format!("interim replies {came:?}"))
        }
    }
}

/// Puts dates in the place of `{+60}` and `{-60}`.
fn dated(text: &str, now: proxy_stone::clock::Timestamp) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out += before;
        let offset =
            after.split_once('}').and_then(|(offset, tail)| Some((offset.parse::<i64>().ok()?, tail)));
        let Some((offset, tail)) = offset else {
            out.push('{');
            rest = after;
            continue;
        };
        let at = proxy_stone::clock::Timestamp::from_secs(now.secs().saturating_add_signed(offset));
        out += &String::from_utf8_lossy(&date::format(at));
        rest = tail;
    }
    out + rest
}

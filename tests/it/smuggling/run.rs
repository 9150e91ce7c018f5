//! Runs the cases for HTTP/1.1, one after the other, through one proxy.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::support::{Answer, Call, Client, Origin, Proxy, until, within};

/// What a request smuggled behind another one is for: no origin may ever see it.
pub const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: api.test\r\n\r\n";

/// What a client says, and what must come of it.
pub struct Case {
    /// The section that has the rule, or the attack's name.
    pub rule: &'static str,
    pub raw: Vec<u8>,
    pub want: Want,
}

/// What must come of what a client says.
pub enum Want {
    /// This status and a closed connection; no origin sees anything.
    Refused(u16),
    /// An origin may see the beginning of it, but never a whole request; 400 and a closed connection.
    Broken,
    /// An origin gets these requests, each a line, the field lines that must be there, and the body.
    Forwarded(Vec<Seen>),
}

/// A request as an origin gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub line: String,
    /// Without those that we add; in their order.
    pub fields: Vec<String>,
    pub body: String,
}

impl Case {
    pub fn new(rule: &'static str, raw: impl Into<Vec<u8>>, want: Want) -> Self {
        Self { rule, raw: raw.into(), want }
    }

    pub fn refused(rule: &'static str, raw: impl Into<Vec<u8>>, status: u16) -> Self {
        Self::new(rule, raw, Want::Refused(status))
    }

    pub fn broken(rule: &'static str, raw: impl Into<Vec<u8>>) -> Self {
        Self::new(rule, raw, Want::Broken)
    }

    pub fn forwarded(rule: &'static str, raw: impl Into<Vec<u8>>, seen: &[(&str, &[&str], &str)]) -> Self {
        let seen = seen
            .iter()
            .map(|(line, fields, body)| Seen {
                line: format!("{line} HTTP/1.1"),
                fields: fields.iter().map(ToString::to_string).collect(),
                body: (*body).into(),
            })
            .collect();
        Self::new(rule, raw, Want::Forwarded(seen))
    }
}

/// An origin that remembers every request that came to its end, and a proxy before it.
pub struct Bench {
    pub origin: Origin,
    pub proxy: Proxy,
    pub seen: Arc<Mutex<Vec<Seen>>>,
}

/// Fields that we add to a request.
const OURS: [&str; 9] = [
    "host",
    "via",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-request-id",
    "connection",
];

impl Bench {
    pub async fn start(config: &str) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let all = seen.clone();
        let origin = Origin::start(async move |call: &mut Call| {
            let body = call.body().await;
            if body.whole {
                let mut text = String::from_utf8_lossy(&body.bytes).into_owned();
                for (name, value) in &body.trailers.0 {
                    text += &format!("|{name}: {value}");
                }
                let fields = call.request.fields.0.iter().filter(|(name, _)| !OURS.contains(&name.as_str()));
                let fields = fields.map(|(name, value)| format!("{name}: {value}")).collect();
                all.lock().push(Seen { line: call.request.line.clone(), fields, body: text });
                call.answer(&Answer::ok("ok")).await;
            } else {
                call.cut();
            }
        })
        .await;
        let config =
            format!("upstream = \"{}\"\n{config}\n[server]\nmax_header_bytes = \"8KiB\"\n", origin.url());
        let proxy = Proxy::of(config).start().await;
        Self { origin, proxy, seen }
    }

    /// Runs cases; all that fail are told together.
    pub async fn run(&self, cases: &[Case]) {
        let mut failed = Vec::new();
        for case in cases {
            self.seen.lock().clear();
            let alone = self.try_case(case).await;
            // Once more behind a request that is beyond doubt, in the same segment.
            let behind = match alone {
                Ok(()) if matches!(case.want, Want::Refused(_)) => self.behind_another(case).await,
                other => other,
            };
            if let Err(why) = behind {
                failed.push(format!(
                    "{} {:.200?}: {why:.300}",
                    case.rule,
                    String::from_utf8_lossy(&case.raw)
                ));
            }
        }
        let smuggled = self.origin.requests().iter().filter(|head| head.line.contains("smuggled")).count();
        assert!(
            failed.is_empty(),
            "{} of {} failed:\n{}",
            failed.len(),
            cases.len(),
            failed[..failed.len().min(20)].join("\n")
        );
        assert_eq!(smuggled, 0, "a request was smuggled");
    }

    async fn try_case(&self, case: &Case) -> Result<(), String> {
        // Shown where a case hangs.
        println!("{} {:?}", case.rule, String::from_utf8_lossy(&case.raw));
        let mut client = self.proxy.connect().await;
        client.say(&case.raw).await;
        match &case.want {
            Want::Refused(status) => refused(&mut client, *status).await?,
            Want::Broken => {
                refused(&mut client, 400).await?;
                return self.nothing_whole();
            }
            Want::Forwarded(seen) => return self.forwarded(&mut client, case, seen).await,
        }
        self.nothing_whole()
    }

    fn nothing_whole(&self) -> Result<(), String> {
        let seen = self.seen.lock();
        if seen.is_empty() { Ok(()) } else { Err(format!("the origin got {seen:?}")) }
    }

    async fn forwarded(&self, client: &mut Client, case: &Case, seen: &[Seen]) -> Result<(), String> {
        let mut methods = seen.iter().map(|seen| seen.line.split(' ').next().unwrap_or_default());
        for method in methods.by_ref() {
            let reply = client.reply(method).await;
            if reply.status != 200 {
                return Err(format!("{} {}", reply.status, reply.text()));
            }
        }
        // The connection goes on where the last message ended, unless that was the last one.
        let text = String::from_utf8_lossy(&case.raw).to_ascii_lowercase();
        let last = text.contains(" http/1.0\r\n") || text.contains("close\r\n");
        let mut expected = seen.to_vec();
        if last {
            let more = client.closed().await;
            if !more.is_empty() {
                return Err(format!("another reply: {more:?}"));
            }
        } else {
            client.say("GET /probe HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
            let reply = client.reply("GET").await;
            if reply.status != 200 {
                return Err(format!("then {} {}", reply.status, reply.text()));
            }
            expected.push(Seen {
                line: "GET /probe HTTP/1.1".into(),
                fields: Vec::new(),
                body: String::new(),
            });
        }
        let got = self.seen.lock().clone();
        if got == expected { Ok(()) } else { Err(format!("the origin got {got:?}")) }
    }

    async fn behind_another(&self, case: &Case) -> Result<(), String> {
        let Want::Refused(status) = case.want else { return Ok(()) };
        let mut client = self.proxy.connect().await;
        client.say([b"GET /before HTTP/1.1\r\nHost: api.test\r\n\r\n", &case.raw[..]].concat()).await;
        let reply = client.reply("GET").await;
        if reply.status != 200 {
            return Err(format!("what came before got {}", reply.status));
        }
        refused(&mut client, status).await.map_err(|why| format!("behind another: {why}"))?;
        let seen = self.seen.lock();
        if seen.len() == 1 { Ok(()) } else { Err(format!("behind another: the origin got {seen:?}")) }
    }
}

/// One reply with this status, a problem, and the end.
async fn refused(client: &mut Client, status: u16) -> Result<(), String> {
    let Some(head) = within(client.wire.head()).await else {
        return Err("closed without a reply".into());
    };
    if head.status() != status {
        return Err(format!("{}: {:?}", head.line, client.closed().await));
    }
    if head.fields.get("content-type") != Some("application/problem+json") {
        return Err(format!("no problem: {head:?}"));
    }
    if head.fields.get("connection") != Some("close") {
        return Err(format!("it does not say that it closes: {head:?}"));
    }
    if !head.fields.get("cache-status").is_some_and(|said| said.starts_with("proxy-stone; ")) {
        return Err(format!("it does not say what the cache did: {head:?}"));
    }
    let length: usize = head.fields.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let rest = client.closed().await;
    if rest.len() == length { Ok(()) } else { Err(format!("more than one reply: {rest:?}")) }
}

/// Waits until so many requests were refused for this.
pub async fn counted(proxy: &Proxy, reason: &str, count: u64) {
    let refused = || proxy.instance.telemetry.snapshot().refused.get(reason).copied().unwrap_or(0);
    until("it is counted", || refused() >= count).await;
}

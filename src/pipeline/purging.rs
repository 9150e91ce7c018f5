//! Purging by requests of clients: `PURGE` and `BAN`, where the config says who may.
//!
//! What is not allowed is refused and never forwarded: an origin that takes such requests from its own cache must not
//! get them from strangers. Without a word in the config the methods are unknown ones like any other.

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::Serialize;

use super::Proxy;
use super::complaint::Complaints;
use super::error::Failure;
use super::exchange::Exchange;
use super::forward::ClientNames;
use super::inbound::Inbound;
use super::key::Form;
use super::pass;
use super::reply::Source;
use super::respond::Reply;
use super::settings::PurgeSettings;
use super::site::Site;
use crate::cache::purge::{Criterion, group};
use crate::http::bearer::Credentials;
use crate::http::cache_groups::{self, CACHE_GROUP_INVALIDATION};
use crate::http::cache_status::CacheStatus;
use crate::http::target::Target;

/// The most tags and groups of one request; each becomes a rule.
const MAX_NAMES: usize = 1024;

/// Request fields that list the tags to purge: as the origin names them in replies, and as Varnish's `xkey` is asked.
const TAG_FIELDS: [HeaderName; 4] = [
    HeaderName::from_static("surrogate-key"),
    HeaderName::from_static("cache-tag"),
    HeaderName::from_static("xkey"),
    HeaderName::from_static("xkey-purge"),
];

/// Lists tags, too, and makes the purge a soft one.
const SOFT_TAGS: HeaderName = HeaderName::from_static("xkey-softpurge");

/// `1` makes the purge a soft one.
const SOFT: HeaderName = HeaderName::from_static("fastly-soft-purge");

/// Who may purge, and the complaints about those who may not.
#[derive(Debug)]
pub(super) struct Purging {
    settings: PurgeSettings,
    complaints: Complaints,
}

/// What a request asks to purge.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    /// What it takes, and how `cache purge` would be told.
    rules: Vec<(Criterion, String)>,
    soft: bool,
}

/// What was done.
#[derive(Serialize)]
struct Done<'a> {
    status: &'static str,
    soft: bool,
    purged: Vec<&'a str>,
    sequence: u64,
    durable: bool,
}

impl Purging {
    pub(super) fn new(settings: PurgeSettings) -> Self {
        Self { settings, complaints: Complaints::default() }
    }

    /// Whether requests of this method purge.
    pub(super) fn takes(&self, method: &Method) -> bool {
        (self.settings.purge && method.as_str() == "PURGE") || (self.settings.ban && method.as_str() == "BAN")
    }

    /// Whether this client may. All that the config demands must hold.
    fn admit(&self, exchange: &Exchange, headers: &HeaderMap) -> Result<(), Failure> {
        let settings = &self.settings;
        let address = exchange.client_address.to_canonical();
        if !settings.allow.is_empty() && !settings.allow.iter().any(|network| network.contains(&address)) {
            return Err(Failure::PurgeDenied);
        }
        match &settings.token {
            Some(token) if !matches!(Credentials::of(headers), Credentials::Bearer(given) if token.is(given)) => {
                Err(Failure::PurgeToken)
            }
            // The config is refused that demands nothing; here it would let nobody purge.
            None if settings.allow.is_empty() => Err(Failure::PurgeDenied),
            _ => Ok(()),
        }
    }
}

impl Proxy {
    /// Purges what the request says, if its client may; it is in force, and fsynced, when this returns.
    pub(super) async fn purge(
        &self,
        site: &Site,
        purging: &Purging,
        exchange: &mut Exchange,
        inbound: Box<Inbound>,
        target: Target,
    ) -> Result<Reply, Failure> {
        let head = &inbound.head;
        if let Err(refused) = purging.admit(exchange, &head.headers) {
            if let Some(more) = purging.complaints.admit("purge", exchange.at) {
                let (client, method, host) = (exchange.client_address, &head.method, &exchange.host);
                tracing::warn!(%client, %method, %host, target = %exchange.target, more, "{refused}");
            }
            return Err(refused);
        }
        let names = pass::names(site, &target);
        // As it is written and as it is stored: without what the key leaves out.
        let forms = site.forms(&names.authority, target.path_and_query().as_str());
        let wanted = wanted(&head.method, &head.headers, &names, &forms, purging.settings.soft)?;
        let (criteria, texts): (Vec<_>, Vec<_>) = wanted.rules.into_iter().unzip();
        let report = self.cache.purge_all(criteria, wanted.soft).await.map_err(|error| {
            tracing::warn!(%error, "a purge by request");
            Failure::PurgeNotKept
        })?;
        let done = Done {
            status: "ok",
            soft: wanted.soft,
            purged: texts.iter().map(String::as_str).collect(),
            sequence: report.sequence,
            durable: report.durable,
        };
        Ok(reply(&done))
    }
}

fn reply(done: &Done<'_>) -> Reply {
    let mut json = serde_json::to_vec(done).unwrap_or_default();
    json.push(b'\n');
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Reply {
        status: StatusCode::OK,
        headers,
        source: Source::Full(json.into()),
        cache_status: CacheStatus { detail: Some("purged"), ..CacheStatus::default() },
        deadline: None,
    }
}

/// What a request asks for. Tags and groups, where it names any, stand in for its target; `forms` are that target's, as
/// it is written first.
fn wanted(
    method: &Method,
    headers: &HeaderMap,
    names: &ClientNames,
    forms: &[Form],
    soft: bool,
) -> Result<Wanted, Failure> {
    let mut rules: Vec<(Criterion, String)> = Vec::new();
    for tag in tags(headers) {
        rules.push((Criterion::Tag(tag.into()), format!("tag:{tag}")));
    }
    let (scheme, authority) = (names.scheme, &*names.authority);
    for name in cache_groups::groups(headers, &CACHE_GROUP_INVALIDATION) {
        let text = format!("group:{scheme}://{authority}/{name}");
        rules.push((Criterion::Tag(group::tag(scheme, authority, &name)), text));
    }
    if rules.len() > MAX_NAMES {
        return Err(Failure::PurgeTooMuch);
    }
    if rules.is_empty() {
        rules = of_target(method, scheme, forms);
    }
    let soft = soft
        || headers.contains_key(&SOFT_TAGS)
        || headers.get(&SOFT).is_some_and(|value| value.as_bytes().trim_ascii() == b"1");
    Ok(Wanted { rules, soft })
}

fn tags(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    TAG_FIELDS
        .into_iter()
        .chain([SOFT_TAGS])
        .flat_map(|name| headers.get_all(name))
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ' ', '\t']))
        .filter(|tag| !tag.is_empty())
}

/// `PURGE` takes one URL, or all that begin so where it ends in `*`; to `BAN` every `*` is a wildcard. A pattern is held
/// against what is stored as it is written, since rules for whole queries say nothing of a part.
fn of_target(method: &Method, scheme: &str, forms: &[Form]) -> Vec<(Criterion, String)> {
    let Some(Form { target: written, .. }) = forms.first() else { return Vec::new() };
    let glob = method.as_str() == "BAN" && written.contains('*');
    let start = written.strip_suffix('*');
    let mut rules: Vec<(Criterion, String)> = Vec::new();
    for Form { authority, target } in forms {
        let rule = match start {
            _ if glob => {
                let pattern = format!("{authority}{written}");
                (Criterion::Glob(pattern.as_str().into()), format!("glob:{pattern}"))
            }
            Some(start) => {
                let criterion =
                    Criterion::Prefix { authority: Some(authority.clone()), target: start.into() };
                (criterion, format!("prefix:{scheme}://{authority}{start}"))
            }
            None => {
                let criterion = Criterion::Url { authority: authority.clone(), target: target.clone() };
                (criterion, format!("url:{scheme}://{authority}{target}"))
            }
        };
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use http::header::HOST;

    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.append(HOST, HeaderValue::from_static("a.example"));
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn forms(own: &str) -> [Form; 1] {
        [Form { authority: "a.example".into(), target: own.into() }]
    }

    fn asked(method: &str, own: &str, lines: &[(&'static str, &str)]) -> (Vec<String>, bool) {
        let names = ClientNames { scheme: "https", authority: "a.example".into(), proxy: "p".into() };
        let method = method.parse().unwrap();
        let wanted = wanted(&method, &headers(lines), &names, &forms(own), false).unwrap();
        (wanted.rules.into_iter().map(|(_, text)| text).collect(), wanted.soft)
    }

    #[test]
    fn a_request_names_a_url_a_beginning_a_pattern_tags_or_groups() {
        type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [&'a str], bool);
        let table: &[Case<'_>] = &[
            ("PURGE", "/a?b=1", &[], &["url:https://a.example/a?b=1"], false),
            ("PURGE", "/a/*", &[], &["prefix:https://a.example/a/"], false),
            ("PURGE", "/a*b", &[], &["url:https://a.example/a*b"], false),
            ("BAN", "/a/*.png", &[], &["glob:a.example/a/*.png"], false),
            ("BAN", "/a", &[], &["url:https://a.example/a"], false),
            ("PURGE", "/", &[("surrogate-key", "x  y")], &["tag:x", "tag:y"], false),
            (
                "PURGE",
                "/",
                &[("cache-tag", "x, y"), ("xkey-purge", "z")],
                &["tag:x", "tag:y", "tag:z"],
                false,
            ),
            ("PURGE", "/", &[("xkey-softpurge", "x")], &["tag:x"], true),
            ("PURGE", "/", &[("surrogate-key", " ")], &["url:https://a.example/"], false),
            (
                "PURGE",
                "/",
                &[("cache-group-invalidation", "\"x y\", \"z\"")],
                &["group:https://a.example/x y", "group:https://a.example/z"],
                false,
            ),
            ("PURGE", "/a", &[("fastly-soft-purge", "1")], &["url:https://a.example/a"], true),
            ("PURGE", "/a", &[("fastly-soft-purge", "0")], &["url:https://a.example/a"], false),
        ];
        for (method, own, lines, texts, soft) in table {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(asked(method, own, lines), (texts, *soft), "{method} {own} {lines:?}");
        }
    }

    #[test]
    fn a_target_is_purged_in_each_form_and_a_pattern_for_each_host() {
        let form =
            |authority: &str, target: &str| Form { authority: authority.into(), target: target.into() };
        let texts = |method: &str, forms: &[Form]| -> Vec<String> {
            let rules = of_target(&method.parse().unwrap(), "http", forms);
            rules.into_iter().map(|(_, text)| text).collect()
        };
        let url = [form("a", "/x?b&a"), form("a", "/x?a&b"), form("*", "/x")];
        assert_eq!(texts("PURGE", &url), ["url:http://a/x?b&a", "url:http://a/x?a&b", "url:http://*/x"]);
        let pattern = [form("a", "/x?b*"), form("a", "/x"), form("*", "/x")];
        assert_eq!(texts("PURGE", &pattern), ["prefix:http://a/x?b", "prefix:http://*/x?b"]);
        assert_eq!(texts("BAN", &pattern), ["glob:a/x?b*", "glob:*/x?b*"]);
    }

    #[test]
    fn too_many_names_are_refused_rather_than_cut() {
        let names = ClientNames { scheme: "https", authority: "a.example".into(), proxy: "p".into() };
        let many = (0..=MAX_NAMES).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        let headers = headers(&[("xkey", &many)]);
        assert!(matches!(
            wanted(&Method::GET, &headers, &names, &forms("/"), false),
            Err(Failure::PurgeTooMuch)
        ));
    }
}

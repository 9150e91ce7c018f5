//! Which entries are meant: what a selector is to the store.
//!
//! A URL is named as clients write it, and means what is stored for it: in the form that it has once the rules of a
//! route have left something out, and for the host that hosts share. Prefixes and patterns are held against what is
//! stored as they are, since the rules are for whole queries and say nothing of a part.

use std::time::Duration;

use http::{HeaderValue, Request, Uri, header};
use url::Url;

use super::Admin;
use crate::admin::api::{Problem, ProblemCode, Selector};
use crate::cache::key::Digest;
use crate::cache::purge::{Criterion, group};
use crate::clock::Timestamp;
use crate::http::authority::Authority;
use crate::http::target::Target;
use crate::http::{Scheme, path};
use crate::pipeline::key::{ANY_HOST, Form};

/// What a selector means to the store; an entry is meant that any of these takes.
pub(super) fn criteria(admin: &Admin, select: &Selector, now: Timestamp) -> Result<Vec<Criterion>, Problem> {
    Ok(match select {
        Selector::Url(url) => criteria_of(forms(admin, &spellings(url)?)),
        select => match criterion(select, now)? {
            // With the bodies that were coded of what it has.
            Criterion::Key(digest) => {
                let coded = admin.cache.coded_keys(digest);
                std::iter::once(digest).chain(coded).map(Criterion::Key).collect()
            }
            criterion => vec![criterion],
        },
    })
}

/// The same of forms that are known.
pub(super) fn criteria_of(forms: Vec<Form>) -> Vec<Criterion> {
    forms.into_iter().map(|Form { authority, target }| Criterion::Url { authority, target }).collect()
}

/// The forms in which these may be stored, each once.
pub(super) fn forms(admin: &Admin, spellings: &[Form]) -> Vec<Form> {
    let site = admin.control.proxy().map(|proxy| proxy.site());
    let mut forms = spellings.to_vec();
    for Form { authority, target } in spellings {
        for form in site.iter().flat_map(|site| site.stored_forms(authority, target)) {
            if !forms.contains(&form) {
                forms.push(form);
            }
        }
    }
    forms
}

fn criterion(select: &Selector, now: Timestamp) -> Result<Criterion, Problem> {
    Ok(match select {
        Selector::Key(key) => Criterion::Key(Digest::from_hex(key).ok_or_else(|| {
            bad(format!("\"{key}\" is no key"))
                .detail("a key has 32 hexadecimal digits, as `cache ls -o wide` prints it")
        })?),
        Selector::Url(url) => {
            let Form { authority, target } = spelling(url)?;
            Criterion::Url { authority, target }
        }
        Selector::Prefix(prefix) if prefix.starts_with('/') => {
            Criterion::Prefix { authority: None, target: prefix.as_str().into() }
        }
        Selector::Prefix(prefix) => {
            let Form { authority, target } = spelling(prefix)?;
            Criterion::Prefix { authority: Some(authority), target }
        }
        Selector::Glob(glob) => Criterion::Glob(without_scheme(given("pattern", glob)?).into()),
        Selector::Host(host) => Criterion::Host(host_of(given("host", host)?)?),
        Selector::Route(route) => Criterion::Route(given("route", route)?.into()),
        Selector::Tag(tag) => Criterion::Tag(given("tag", tag)?.into()),
        Selector::Group(group) => Criterion::Tag(group_tag(group)?),
        Selector::OlderThan(millis) => Criterion::Before(now.minus(Duration::from_millis(*millis))),
        Selector::All => Criterion::All,
    })
}

/// A value that is not empty: an unset variable must not look like a purge that found nothing.
fn given<'a>(what: &str, value: &'a str) -> Result<&'a str, Problem> {
    if value.is_empty() { Err(bad(format!("the {what} is empty"))) } else { Ok(value) }
}

fn host_of(text: &str) -> Result<Box<str>, Problem> {
    if text != ANY_HOST {
        Authority::parse(text, Scheme::Http).map_err(|error| {
            bad(format!("\"{text}\" is no host")).detail(format!("{error}: write host or host:port"))
        })?;
    }
    Ok(text.to_ascii_lowercase().into())
}

/// What may be the reason that a choice takes nothing, where something speaks for it.
pub(super) fn note(admin: &Admin, select: &Selector) -> Option<String> {
    let site = admin.control.proxy()?.site();
    match select {
        Selector::Route(route) => {
            let known = site.routes.iter().any(|known| *known.name == **route);
            (!known).then(|| format!("there is no route `{route}` now: proxy-stone route ls"))
        }
        Selector::Url(url) | Selector::Prefix(url) if path_of(url).contains('*') => {
            Some("* is no wildcard here: --glob takes patterns".to_owned())
        }
        Selector::Prefix(_) | Selector::Glob(_) | Selector::Host(_)
            if site.routes.iter().any(|route| !route.cache.key.host) =>
        {
            Some(format!("what hosts share is stored under the host {ANY_HOST}: proxy-stone cache ls"))
        }
        _ => None,
    }
}

/// What follows the host of a URL.
fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or("", |at| &rest[at..])
}

/// The tag of a group that is written behind its origin.
fn group_tag(text: &str) -> Result<Box<str>, Problem> {
    let bad = || {
        bad(format!("\"{text}\" names no group")).detail(
            "groups belong to an origin: write https://host/group, the group as `cache show` prints it",
        )
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
    let (authority, name) = rest.split_once('/').ok_or_else(bad)?;
    let origin = Url::parse(&format!("{scheme}://{authority}/")).map_err(|_| bad())?;
    let host = origin.host_str().filter(|_| matches!(origin.scheme(), "http" | "https")).ok_or_else(bad)?;
    let authority = origin.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    Ok(group::tag(origin.scheme(), &authority, name))
}

/// What clients may ask for who are given this URL, in normal form: as it is written, and as browsers write it, which
/// escape more. Without a scheme it is of both. At least one.
pub(super) fn spellings(text: &str) -> Result<Vec<Form>, Problem> {
    if text.starts_with('/') {
        return Err(bad(format!("\"{text}\" is no URL")).detail("it has no host: write http://host/path"));
    }
    let urls = match text.contains("://") {
        true => vec![text.to_owned()],
        false => vec![format!("http://{text}"), format!("https://{text}")],
    };
    let mut forms = Vec::new();
    let mut why = None;
    for url in &urls {
        let browsers = as_browsers_do(text, url).map_err(|problem| why.get_or_insert(problem).clone());
        for form in [as_written(url), browsers.ok()].into_iter().flatten() {
            if !forms.contains(&form) {
                forms.push(form);
            }
        }
    }
    match why.filter(|_| forms.is_empty()) {
        Some(problem) => Err(problem),
        None => Ok(forms),
    }
}

/// The first of them.
fn spelling(text: &str) -> Result<Form, Problem> {
    spellings(text)?.into_iter().next().ok_or_else(|| bad(format!("\"{text}\" is no URL")))
}

/// As the pipeline takes a request for it.
fn as_written(url: &str) -> Option<Form> {
    let uri: Uri = url.parse().ok()?;
    let secure = uri.scheme_str() == Some("https");
    let host = HeaderValue::from_str(uri.authority()?.as_str()).ok()?;
    let (head, ()) = Request::get(uri).header(header::HOST, host).body(()).ok()?.into_parts();
    let target = Target::of(&head, secure).ok()?;
    Some(Form { authority: target.authority().into(), target: target.path_and_query().as_str().into() })
}

fn as_browsers_do(text: &str, url: &str) -> Result<Form, Problem> {
    let url = Url::parse(url).map_err(|error| bad(format!("\"{text}\" is no URL")).detail(error))?;
    let host = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https")).ok_or_else(|| {
        bad(format!("\"{text}\" is no URL")).detail("write http://host/path or https://host/path")
    })?;
    let authority = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let path =
        path::normalise(url.path()).map_err(|error| bad(format!("\"{text}\" is no URL")).detail(error))?;
    let target = match url.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.into_owned(),
    };
    Ok(Form { authority: authority.into(), target: target.into() })
}

fn without_scheme(glob: &str) -> &str {
    glob.strip_prefix("https://").or_else(|| glob.strip_prefix("http://")).unwrap_or(glob)
}

fn bad(title: impl Into<String>) -> Problem {
    Problem::new(ProblemCode::BadRequest, title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_become_what_the_store_understands() {
        let now = Timestamp::from_secs(100);
        let url = |authority: &str, target: &str| Criterion::Url {
            authority: authority.into(),
            target: target.into(),
        };
        let table = [
            (Selector::Url("https://A.example:443/x?y=1".into()), url("a.example", "/x?y=1")),
            (Selector::Url("http://a.example:8080".into()), url("a.example:8080", "/")),
            (Selector::Url("127.0.0.1:8080/x".into()), url("127.0.0.1:8080", "/x")),
            (Selector::Prefix("/v1/".into()), Criterion::Prefix { authority: None, target: "/v1/".into() }),
            (
                Selector::Prefix("http://a/v1".into()),
                Criterion::Prefix { authority: Some("a".into()), target: "/v1".into() },
            ),
            (
                Selector::Prefix("http://*/v1".into()),
                Criterion::Prefix { authority: Some("*".into()), target: "/v1".into() },
            ),
            (
                Selector::Group("HTTPS://A.example:443/x /y".into()),
                Criterion::Tag(group::tag("https", "a.example", "x /y")),
            ),
            (Selector::Glob("https://a/*".into()), Criterion::Glob("a/*".into())),
            (Selector::Host("A.example:81".into()), Criterion::Host("a.example:81".into())),
            (Selector::Host("*".into()), Criterion::Host("*".into())),
            (Selector::OlderThan(40_000), Criterion::Before(Timestamp::from_secs(60))),
            (Selector::All, Criterion::All),
        ];
        for (selector, expected) in table {
            assert_eq!(criterion(&selector, now).unwrap(), expected, "{selector}");
        }
        for wrong in [
            Selector::Key("xyz".into()),
            Selector::Url("ftp://a/".into()),
            Selector::Url("http://".into()),
            Selector::Url("/plain".into()),
            Selector::Group("scripts".into()),
            Selector::Group("ftp://a/scripts".into()),
            Selector::Group(String::new()),
            Selector::Prefix(String::new()),
            Selector::Glob(String::new()),
            Selector::Host(String::new()),
            Selector::Host("http://a/".into()),
            Selector::Route(String::new()),
            Selector::Tag(String::new()),
        ] {
            assert_eq!(criterion(&wrong, now).unwrap_err().code, ProblemCode::BadRequest, "{wrong}");
        }
    }

    #[test]
    fn a_url_means_what_clients_send_who_are_given_it() {
        for (text, wanted) in [
            ("http://a/x?y", &["a/x?y"][..]),
            ("http://a/x?q='b'#top", &["a/x?q='b'", "a/x?q=%27b%27"]),
            ("http://a/%7ex/../y", &["a/y"]),
            ("http://a/x\\y", &["a/x%5Cy", "a/x/y"]),
            ("http://*/x", &["*/x"]),
            ("http://ü.example/", &["xn--tda.example/"]),
            ("a:443/x", &["a:443/x", "a/x"]),
            ("https://a.:443", &["a/", "a./"]),
        ] {
            let forms = spellings(text).unwrap();
            let texts: Vec<String> =
                forms.iter().map(|form| format!("{}{}", form.authority, form.target)).collect();
            assert_eq!(texts, wanted, "{text}");
        }
    }
}

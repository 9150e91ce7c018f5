//! Warming and refreshing: the instance asks itself, so many at a time and so many a second. The work is the stream's
//! own: it ends when the asker has left.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use tokio::time::Instant;

use super::Admin;
use super::reply::{self, Reply};
use super::request::Asked;
use super::selection::{criteria, spellings};
use crate::admin::api::{FetchQuery, Pace, Problem, ProblemCode, Refresh, Selector, Warm, WarmLine, Warmed};
use crate::cache::entry::{BodyRef, Entry};
use crate::cache::purge::Criterion;
use crate::cache::store::{Cursor, ListQuery};
use crate::pipeline::Proxy;
use crate::pipeline::internal::{ANY_HOST, Elsewhere, InternalReply, InternalRequest};
use crate::pipeline::key::Form;
use crate::telemetry::event::CacheOutcome;

/// Requests at a time, where nobody says.
const CONCURRENCY: u32 = 8;

/// The most requests at a time.
const MAX_CONCURRENCY: u32 = 256;

/// Entries looked up at a time.
const PAGE: usize = 200;

/// The largest reply that is handed back whole; a sitemap may have 50 MB.
const MAX_FETCHED: usize = 64 << 20;

/// Requests URLs of this instance, as a client would.
pub fn warm(admin: &Arc<Admin>, asked: &Asked) -> Reply {
    let Warm { urls, pace } = asked.json()?;
    let headers = headers(&pace.headers)?;
    let proxy = proxy(admin)?;
    let one = move |url: String| {
        let (proxy, headers) = (proxy.clone(), headers.clone());
        async move {
            match request(&url, headers, false) {
                Ok(request) => warmed(url, &proxy.ask_itself(request, 0).await),
                Err(reason) => {
                    Warmed { url, result: "failed".into(), reason: Some(reason), ..Warmed::default() }
                }
            }
        }
    };
    stream_of(admin, stream::iter(urls), &pace, one)
}

/// Has stored responses validated or fetched anew.
pub fn refresh(admin: &Arc<Admin>, asked: &Asked) -> Reply {
    let Refresh { select, pace } = asked.json()?;
    let any = criteria(admin, &select, admin.clock.now())?;
    // As whoever asks writes it: what its key leaves out may matter to the origin.
    let written: Arc<[Form]> = match &select {
        Selector::Url(url) => spellings(url)?.into(),
        _ => Arc::default(),
    };
    let headers = headers(&pace.headers)?;
    let proxy = proxy(admin)?;
    let one = move |entry: Arc<Entry>| {
        let (proxy, headers, written) = (proxy.clone(), headers.clone(), written.clone());
        async move {
            let url = entry.key.url();
            match finding(&proxy, &entry, &written, &headers) {
                Ok(request) => refreshed(url, &proxy.ask_itself(request, 0).await, &entry),
                Err(reason) => {
                    Warmed { url, result: "skipped".into(), reason: Some(reason), ..Warmed::default() }
                }
            }
        }
    };
    stream_of(admin, entries(admin, any), &pace, one)
}

/// A request that comes to an entry: for one of these, else for what the entry's key says; else why there is none.
fn finding(
    proxy: &Proxy,
    entry: &Entry,
    written: &[Form],
    headers: &HeaderMap,
) -> Result<InternalRequest, String> {
    let of_form = |form: &Form| format!("{}://{}{}", entry.key.scheme, form.authority, form.target);
    let mut why = None;
    for url in written.iter().map(of_form).chain([entry.key.url()]) {
        let found = request(&url, headers.clone(), true).and_then(|request| {
            proxy.would_find(&request, entry).map_err(|why| elsewhere(&why)).map(|()| request)
        });
        match found {
            Ok(request) => return Ok(request),
            Err(reason) => why = why.or(Some(reason)),
        }
    }
    Err(why.unwrap_or_default())
}

/// The reply to one URL, whole.
pub async fn fetch(admin: &Arc<Admin>, asked: &Asked) -> Reply {
    let FetchQuery { url } = asked.query()?;
    let request = request(&url, HeaderMap::new(), false)
        .map_err(|reason| bad(format!("\"{url}\" can't be asked for")).detail(reason))?;
    let fetched = proxy(admin)?.ask_itself(request, MAX_FETCHED).await;
    let refused =
        |why: String| Problem::new(ProblemCode::NotFound, format!("{url} gave no reply to read")).detail(why);
    if let Some(broken) = fetched.broken {
        return Err(refused(broken));
    }
    if fetched.status != StatusCode::OK {
        return Err(refused(format!("its status is {}", fetched.status.as_u16())));
    }
    if fetched.bytes > fetched.body.len() as u64 {
        return Err(refused(format!("it is larger than {} MiB", MAX_FETCHED >> 20)));
    }
    let text = String::from_utf8(fetched.body).map_err(|error| refused(error.to_string()))?;
    reply::text("text/plain; charset=utf-8", text)
}

/// Does `one` for each of `work`, and tells of each as it is done.
fn stream_of<T, F, Fut>(
    admin: &Arc<Admin>,
    work: impl Stream<Item = T> + Send + 'static,
    pace: &Pace,
    one: F,
) -> Reply
where
    T: Send + 'static,
    F: Fn(T) -> Fut + Send + 'static,
    Fut: Future<Output = Warmed> + Send + 'static,
{
    let concurrency = pace.concurrency.unwrap_or(CONCURRENCY).clamp(1, MAX_CONCURRENCY) as usize;
    let done = paced(work, pace.rate).map(one).buffer_unordered(concurrency);
    let counted = done.scan(0u64, |asked, warmed| {
        *asked += 1;
        futures_util::future::ready(Some((*asked, warmed)))
    });
    let lines = stream::unfold((Box::pin(counted), 0, false), |(mut done, asked, ended)| async move {
        if ended {
            return None;
        }
        Some(match done.next().await {
            Some((asked, warmed)) => (WarmLine::Done(Box::new(warmed)), (done, asked, false)),
            None => (WarmLine::End { asked }, (done, asked, true)),
        })
    });
    reply::lines(lines.take_until(admin.closing.clone().cancelled_owned()))
}

/// The same, not more than so many a second.
fn paced<T: Send + 'static>(
    work: impl Stream<Item = T> + Send + 'static,
    rate: Option<u32>,
) -> impl Stream<Item = T> + Send {
    let every = rate.map(|rate| Duration::from_secs(1) / rate.max(1));
    let mut next = Instant::now();
    work.then(move |item| {
        let at = next;
        if let Some(every) = every {
            // Time that was lost is not made up for.
            next = next.max(Instant::now()) + every;
        }
        async move {
            if every.is_some() {
                tokio::time::sleep_until(at).await;
            }
            item
        }
    })
}

/// The chosen entries, a page at a time.
fn entries(admin: &Arc<Admin>, any: Vec<Criterion>) -> impl Stream<Item = Arc<Entry>> + Send + 'static {
    let pages = stream::unfold((admin.cache.clone(), Some(None)), move |(cache, at)| {
        let any = any.clone();
        async move {
            let cursor: Option<Cursor> = at?;
            let query = ListQuery { cursor, limit: PAGE, any, ..ListQuery::default() };
            let page = cache.list(query).await;
            let entries: Vec<_> = page.entries.into_iter().map(|summary| summary.entry).collect();
            Some((stream::iter(entries), (cache, page.next.map(Some))))
        }
    });
    pages.flatten()
}

fn warmed(url: String, reply: &InternalReply) -> Warmed {
    let said = &reply.cache_status;
    let result = match reply {
        _ if failed(reply) => "failed",
        _ if said.hit => "hit",
        _ if said.stored => "stored",
        _ => "not-stored",
    };
    told(url, result, reply)
}

fn refreshed(url: String, reply: &InternalReply, before: &Entry) -> Warmed {
    let result = match reply {
        _ if failed(reply) => "failed",
        _ if !reply.cache_status.stored => "not-stored",
        _ if reply.cache == CacheOutcome::Revalidated || same(reply, before) => "unchanged",
        _ => "changed",
    };
    told(url, result, reply)
}

fn told(url: String, result: &str, reply: &InternalReply) -> Warmed {
    let detail = reply.cache_status.detail.map(str::to_owned);
    let forward = || reply.cache_status.forward.map(|forward| format!("fwd={}", forward.as_str()));
    let said = || Some(format!("the origin said {}", reply.status.as_u16()));
    let reason = match result {
        "failed" => reply.broken.clone().or(reply.error.map(str::to_owned)).or_else(said),
        "not-stored" => detail.or_else(forward),
        _ => detail,
    };
    Warmed {
        url,
        result: result.to_owned(),
        reason,
        status: Some(reply.status.as_u16()),
        cache: Some(reply.cache.as_str().to_owned()),
        bytes: reply.bytes,
        duration_ms: reply.took.as_secs_f64() * 1000.0,
    }
}

/// No reply, a broken one, or an error that nobody meant to be kept.
fn failed(reply: &InternalReply) -> bool {
    let kept = reply.cache_status.hit || reply.cache_status.stored;
    reply.broken.is_some() || reply.error.is_some() || (reply.status.is_server_error() && !kept)
}

/// Whether a reply has the status and body that were stored.
fn same(reply: &InternalReply, before: &Entry) -> bool {
    let hash = match &before.body {
        BodyRef::Bytes(bytes) => *blake3::hash(bytes).as_bytes(),
        BodyRef::File(file) => file.hash,
    };
    reply.status == before.head.status && reply.hash == hash
}

fn elsewhere(why: &Elsewhere) -> String {
    let fields = |fields: &[Box<str>]| fields.join(", ");
    match why {
        Elsewhere::BadTarget => "its target is not understood any more".into(),
        Elsewhere::NoRoute => "no route takes it any more".into(),
        Elsewhere::Off => "its route does not cache any more".into(),
        Elsewhere::Part => "it is a part of a reply: clients fill it up as they ask for more".into(),
        Elsewhere::OtherKey(names) if names.is_empty() => "its route keys it in another way now".into(),
        Elsewhere::OtherKey(names) => format!("needs what its key has of a request: {}", fields(names)),
        Elsewhere::OtherVariant(names) => {
            format!("needs the request fields that it varies on: {}", fields(names))
        }
    }
}

fn request(url: &str, headers: HeaderMap, refresh: bool) -> Result<InternalRequest, String> {
    let uri: Uri = url.parse().map_err(|error| format!("it is no URL: {error}"))?;
    let secure = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err("it is no URL: write http://host/path or https://host/path".into()),
    };
    let given = || uri.authority().and_then(|authority| HeaderValue::try_from(authority.as_str()).ok());
    let Some(authority) = headers.get(header::HOST).cloned().or_else(given) else {
        return Err("it is no URL: it has no host".into());
    };
    if authority == ANY_HOST {
        return Err("its key is that of any host: give one with -H 'host: NAME'".into());
    }
    let target = uri.path_and_query().cloned().unwrap_or_else(|| http::uri::PathAndQuery::from_static("/"));
    Ok(InternalRequest { secure, authority, target, headers, refresh })
}

fn headers(given: &[(String, String)]) -> Result<HeaderMap, Problem> {
    let mut headers = HeaderMap::with_capacity(given.len());
    for (name, value) in given {
        let name: HeaderName = name.parse().map_err(|_| bad(format!("\"{name}\" is no field name")))?;
        let value = HeaderValue::try_from(value.as_str())
            .map_err(|_| bad(format!("the value of \"{name}\" can't stand in a field")))?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn proxy(admin: &Admin) -> Result<Arc<Proxy>, Problem> {
    admin
        .control
        .proxy()
        .ok_or_else(|| Problem::new(ProblemCode::Unavailable, "this instance answers no requests"))
}

fn bad(title: impl Into<String>) -> Problem {
    Problem::new(ProblemCode::BadRequest, title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_become_requests_as_clients_would_send_them() {
        for (url, secure, authority, target) in [
            ("http://a.example/x?y=1", false, "a.example", "/x?y=1"),
            ("https://a.example:8443", true, "a.example:8443", "/"),
            ("http://[::1]:80/%7E#part", false, "[::1]:80", "/%7E"),
        ] {
            let request = request(url, HeaderMap::new(), false).unwrap();
            let got = (request.secure, request.authority.to_str().unwrap(), request.target.as_str());
            assert_eq!(got, (secure, authority, target), "{url}");
        }
        let mut named = HeaderMap::new();
        assert!(request("http://*/x", named.clone(), true).unwrap_err().contains("any host"));
        named.insert(header::HOST, HeaderValue::from_static("a.example"));
        assert_eq!(request("http://*/x", named, true).unwrap().authority, "a.example");
        for wrong in ["", "/x", "a.example", "ftp://a/x", "http:///x", "http://a b/"] {
            assert!(request(wrong, HeaderMap::new(), false).is_err(), "{wrong}");
        }
        assert!(headers(&[("a b".into(), "c".into())]).is_err());
        assert!(headers(&[("a".into(), "c\nd".into())]).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept() {
        let began = Instant::now();
        let done: Vec<u32> = paced(stream::iter(0..11), Some(10)).collect().await;
        assert_eq!(done.len(), 11);
        assert_eq!(began.elapsed().as_millis(), 1000);
        let began = Instant::now();
        paced(stream::iter(0..11), None).collect::<Vec<u32>>().await;
        assert_eq!(began.elapsed().as_millis(), 0);
    }
}

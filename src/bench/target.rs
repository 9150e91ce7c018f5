//! Whom to ask, and for what: URLs, method, fields and content, made into requests once.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use thiserror::Error;
use url::Url;

/// What a command line says of it.
#[derive(Clone, Debug)]
pub struct TargetSettings {
    /// Asked for in turn.
    pub urls: Vec<String>,
    /// Of every request.
    pub method: Method,
    /// Of every request; `Host` takes the place of the URL's.
    pub headers: Vec<(String, String)>,
    /// Of every request.
    pub body: Option<Bytes>,
    /// Instead of HTTP/1.1.
    pub http2: bool,
}

/// Why that can't be asked for.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BadTarget {
    /// Nothing to ask for.
    #[error("there is no URL to ask for")]
    NoUrl,
    /// Not a URL, or of a scheme that isn't spoken here.
    #[error("\"{url}\" is no URL: {why}")]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Connections are kept, so they lead to one place.
    #[error("\"{url}\" leads elsewhere than \"{first}\": all URLs need one scheme, host and port")]
    Elsewhere {
        /// The one that differs.
        url: String,
        /// The one that the others are compared with.
        first: String,
    },
    /// A field that follows from the rest, or that HTTP/2 doesn't have.
    #[error("the field {name} can't be set: {why}")]
    Field {
        /// Its name.
        name: String,
        /// Why not.
        why: &'static str,
    },
}

/// Requests, ready to be sent again and again.
#[derive(Clone, Debug)]
pub struct Target {
    /// The first URL.
    pub url: String,
    /// Name or address, as one looks it up.
    pub host: String,
    /// The URL's, or its scheme's.
    pub port: u16,
    /// Whether TLS is spoken.
    pub https: bool,
    /// Whether HTTP/2 is spoken.
    pub http2: bool,
    /// Of every request.
    pub method: Method,
    uris: Arc<[Uri]>,
    headers: HeaderMap,
    body: Bytes,
}

impl Target {
    /// Makes requests of what was said.
    ///
    /// # Errors
    /// When URLs or fields can't be used.
    pub fn new(settings: TargetSettings) -> Result<Self, BadTarget> {
        let mut urls = settings.urls.iter();
        let first = parse(urls.next().ok_or(BadTarget::NoUrl)?)?;
        let headers = headers(&settings, &first)?;
        let mut uris = vec![uri(&first, &headers, settings.http2)?];
        for text in urls {
            let url = parse(text)?;
            if (url.scheme(), url.host(), url.port_or_known_default())
                != (first.scheme(), first.host(), first.port_or_known_default())
            {
                return Err(BadTarget::Elsewhere { url: text.clone(), first: first.to_string() });
            }
            uris.push(uri(&url, &headers, settings.http2)?);
        }
        let mut headers = headers;
        if settings.http2 {
            // It is the request's :authority there.
            headers.remove(HOST);
        }
        Ok(Self {
            host: match first.host() {
                Some(url::Host::Ipv6(address)) => address.to_string(),
                _ => first.host_str().unwrap_or_default().to_owned(),
            },
            port: first.port_or_known_default().unwrap_or(80),
            https: first.scheme() == "https",
            http2: settings.http2,
            method: settings.method,
            uris: uris.into(),
            headers,
            body: settings.body.unwrap_or_default(),
            url: first.into(),
        })
    }

    /// How many URLs are asked for in turn.
    pub fn urls(&self) -> usize {
        self.uris.len()
    }

    /// The request for the URL of this number; they begin anew after the last.
    pub(super) fn request<B>(&self, number: usize, body: B) -> Request<B> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uris[number % self.uris.len()].clone();
        *request.version_mut() = if self.http2 { Version::HTTP_2 } else { Version::HTTP_11 };
        *request.headers_mut() = self.headers.clone();
        request
    }

    /// The content of every request.
    pub(super) fn body(&self) -> Bytes {
        self.body.clone()
    }
}

fn parse(text: &str) -> Result<Url, BadTarget> {
    let bad = |why: &str| BadTarget::Url { url: text.to_owned(), why: why.to_owned() };
    let form = "write http://host/path or https://host/path";
    let url = Url::parse(text).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => bad(form),
        error => bad(&error.to_string()),
    })?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(bad(form));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("write credentials as a field: -H 'Authorization: ...'"));
    }
    Ok(url)
}

fn headers(settings: &TargetSettings, first: &Url) -> Result<HeaderMap, BadTarget> {
    let refused = |name: &str, why| Err(BadTarget::Field { name: name.to_owned(), why });
    let mut headers = HeaderMap::new();
    for (name, value) in &settings.headers {
        let lower = name.to_ascii_lowercase();
        match &*lower {
            "content-length" | "transfer-encoding" => return refused(name, "it follows from the content"),
            // RFC 9113 8.2.2.
            "connection" | "keep-alive" | "upgrade" | "proxy-connection" if settings.http2 => {
                return refused(name, "HTTP/2 has no such field");
            }
            "upgrade" => return refused(name, "other protocols aren't spoken here"),
            _ => {}
        }
        let Ok(name) = HeaderName::try_from(lower) else { return refused(name, "that is no field name") };
        let Ok(value) = HeaderValue::try_from(value) else {
            return refused(name.as_str(), "that is no field value");
        };
        headers.append(name, value);
    }
    headers.entry(USER_AGENT).or_insert_with(|| {
        HeaderValue::from_static(concat!("proxy-stone-bench/", env!("CARGO_PKG_VERSION")))
    });
    headers.entry(ACCEPT).or_insert_with(|| HeaderValue::from_static("*/*"));
    if let Some(body) = &settings.body {
        headers.insert(CONTENT_LENGTH, body.len().into());
    }
    let authority = &first[url::Position::BeforeHost..url::Position::AfterPort];
    let Ok(authority) = HeaderValue::from_str(authority) else { return refused("Host", "that is no host") };
    headers.entry(HOST).or_insert(authority);
    Ok(headers)
}

/// What stands in the request line, or in the pseudo-fields of HTTP/2.
fn uri(url: &Url, headers: &HeaderMap, http2: bool) -> Result<Uri, BadTarget> {
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let text = if http2 { format!("{}://{host}{target}", url.scheme()) } else { target.to_owned() };
    text.parse().map_err(|error: http::uri::InvalidUri| BadTarget::Url {
        url: url.to_string(),
        why: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(urls: &[&str]) -> TargetSettings {
        TargetSettings {
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            method: Method::GET,
            headers: Vec::new(),
            body: None,
            http2: false,
        }
    }

    fn field(settings: TargetSettings, name: &str) -> Option<String> {
        let request = Target::new(settings).unwrap().request(0, ());
        Some(request.headers().get(name)?.to_str().unwrap().to_owned())
    }

    #[test]
    fn urls_are_asked_for_in_turn() {
        let target = Target::new(settings(&["http://a:81/x?y=1#z", "http://a:81/ü"])).unwrap();
        let uris: Vec<String> = (0..3).map(|n| target.request(n, ()).uri().to_string()).collect();
        assert_eq!(uris, ["/x?y=1", "/%C3%BC", "/x?y=1"]);
        assert_eq!((&*target.host, target.port, target.https), ("a", 81, false));
        let v6 = Target::new(settings(&["https://[::1]/"])).unwrap();
        assert_eq!((&*v6.host, v6.port, v6.https), ("::1", 443, true));
    }

    #[test]
    fn the_host_is_the_url_s_unless_said_otherwise() {
        assert_eq!(field(settings(&["http://a:81/"]), "host").as_deref(), Some("a:81"));
        assert_eq!(field(settings(&["http://a:80/"]), "host").as_deref(), Some("a"));
        let other = vec![("Host".to_owned(), "b.example".to_owned())];
        let mut said = settings(&["http://a/x"]);
        said.headers = other;
        assert_eq!(field(said.clone(), "host").as_deref(), Some("b.example"));
        said.http2 = true;
        let request = Target::new(said).unwrap().request(0, ());
        assert_eq!(request.uri().to_string(), "http://b.example/x");
        assert!(!request.headers().contains_key("host"));
    }

    #[test]
    fn content_has_its_length() {
        assert_eq!(field(settings(&["http://a/"]), "content-length"), None);
        let with = TargetSettings { body: Some(Bytes::from_static(b"abc")), ..settings(&["http://a/"]) };
        assert_eq!(field(with, "content-length").as_deref(), Some("3"));
    }

    #[test]
    fn what_cannot_be_asked_for_is_refused_with_its_reason() {
        let refused = |settings: TargetSettings| Target::new(settings).unwrap_err().to_string();
        assert_eq!(refused(settings(&[])), "there is no URL to ask for");
        for url in ["a.example", "/x", "ftp://a/x", "http://u:p@a/"] {
            assert!(refused(settings(&[url])).contains("is no URL"), "{url}");
        }
        for elsewhere in ["http://b/", "https://a/", "http://a:81/"] {
            assert!(refused(settings(&["http://a/", elsewhere])).contains("leads elsewhere"), "{elsewhere}");
        }
        let with = |name: &str, http2| TargetSettings {
            headers: vec![(name.to_owned(), "x".to_owned())],
            http2,
            ..settings(&["http://a/"])
        };
        assert!(refused(with("Content-Length", false)).contains("follows from the content"));
        assert!(refused(with("connection", true)).contains("HTTP/2 has no such field"));
        assert!(Target::new(with("Connection", false)).is_ok());
    }
}

//! What a request is for: scheme, authority, path and query (RFC 9110 7.1, RFC 9112 3.2, RFC 9113 8.3.1).
//!
//! One normal form is made here, once, and is what is routed, keyed and forwarded; see `http::path` for the path
//! and `http::authority` for the host. The query is kept as it came, since only the origin knows what it means.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::header::HOST;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};
use thiserror::Error;

use super::Scheme;
use super::authority::{Authority, BadAuthority};
use super::path::{BadPath, normalise};
use super::written::written;

/// The longest path and query, in bytes; what `http` can hold.
const MAX_LENGTH: usize = 65_000;

/// Why a request's target is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadTarget {
    /// HTTP/1.1 asks for `Host`, HTTP/2 for `:authority` or `Host` (RFC 9112 3.2, RFC 9113 8.3.1).
    #[error("the request names no host")]
    NoHost,
    /// More than one `Host` field line (RFC 9112 3.2).
    #[error("the request has more than one Host field")]
    ManyHosts,
    /// `Host` and `:authority` name different hosts (RFC 9113 8.3.1).
    #[error("Host and :authority differ")]
    HostsDiffer,
    /// `Host`, or the target's authority, is malformed.
    #[error("{0}")]
    Authority(#[from] BadAuthority),
    /// The target asks for a scheme that the connection is not secured for, or for one that we don't speak (RFC 9110
    /// 7.4).
    #[error("the target's scheme is not served on this connection")]
    Scheme,
    /// Neither an absolute path, nor an absolute URI, nor `*` with OPTIONS.
    #[error("the target has a form that is not served")]
    Form,
    /// The path has no normal form.
    #[error("{0}")]
    Path(#[from] BadPath),
    /// Longer than can be handled.
    #[error("the target is too long")]
    TooLong,
}

impl BadTarget {
    /// The word for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoHost => "missing_host",
            Self::ManyHosts => "repeated_host",
            Self::HostsDiffer => "differing_hosts",
            Self::Authority(_) => "malformed_host",
            Self::Scheme => "misdirected_scheme",
            Self::Form => "malformed_target",
            Self::Path(BadPath::HiddenDots) => "hidden_dot_segment",
            Self::Path(_) => "malformed_path",
            Self::TooLong => "target_too_long",
        }
    }

    /// 414 for a target that is too long (RFC 9110 15.5.15), 421 for a scheme that is not ours to serve here
    /// (15.5.20), else 400.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::TooLong => StatusCode::URI_TOO_LONG,
            Self::Scheme => StatusCode::MISDIRECTED_REQUEST,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// A request's target in normal form. Owns what it needs.
#[derive(Clone, Debug)]
pub struct Target {
    scheme: Scheme,
    authority: Arc<str>,
    host_len: usize,
    port: Option<u16>,
    normal: PathAndQuery,
    sent: PathAndQuery,
}

impl Target {
    /// The target of a request. `secure`: it came over TLS, or a trusted peer says that it did
    /// ([`super::forwarded::is_secure`]).
    ///
    /// A target in absolute form beats `Host` (RFC 9112 3.2.2), which must be valid even so. Only HTTP/1.0 may
    /// leave the host out; it is empty then. `CONNECT` is not served and ends in [`BadTarget::Form`].
    pub fn of(head: &Parts, secure: bool) -> Result<Self, BadTarget> {
        let scheme = Scheme::of(secure);
        check_scheme(&head.uri, scheme)?;
        let authority = Named::of(head, scheme)?;
        let sent = head.uri.path_and_query().ok_or(BadTarget::Form)?;
        let normal = normal_form(&head.method, sent)?;
        Ok(Self {
            scheme,
            authority: authority.text,
            host_len: authority.host_len,
            port: authority.port,
            normal,
            sent: sent.clone(),
        })
    }

    /// How the client reaches us.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// `host[:port]`, lower case, without the scheme's own port; empty where HTTP/1.0 named none.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The same, to be kept.
    pub fn shared_authority(&self) -> Arc<str> {
        self.authority.clone()
    }

    /// The authority as a field value, for `Host`.
    pub fn authority_value(&self) -> HeaderValue {
        let text = written(|out| out.extend_from_slice(self.authority.as_bytes()));
        // An authority that was parsed holds no byte that a field value may not hold.
        HeaderValue::from_maybe_shared(text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// Lower case, without port; IPv6 addresses in brackets.
    pub fn host(&self) -> &str {
        &self.authority()[..self.host_len]
    }

    /// The port, explicit or the scheme's own.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(self.scheme.default_port())
    }

    /// The path in normal form; `*` for `OPTIONS *`.
    pub fn path(&self) -> &str {
        self.normal.path()
    }

    /// What follows `?`, as it was sent.
    pub fn query(&self) -> Option<&str> {
        self.normal.query()
    }

    /// The normal path and the query, ready to be forwarded.
    pub fn path_and_query(&self) -> &PathAndQuery {
        &self.normal
    }

    /// The same with another path and query, which are in normal form: what is forwarded where a route rewrites.
    ///
    /// # Errors
    /// When they are too long, or no URI can have them.
    pub fn forwarded(&self, path_and_query: String) -> Result<Self, BadTarget> {
        if path_and_query.len() > MAX_LENGTH {
            return Err(BadTarget::TooLong);
        }
        let normal =
            PathAndQuery::from_maybe_shared(Bytes::from(path_and_query)).map_err(|_| BadTarget::Form)?;
        Ok(Self { normal, ..self.clone() })
    }

    /// Path and query as the client sent them, for the log.
    pub fn sent(&self) -> &PathAndQuery {
        &self.sent
    }
}

/// The authority that a request names.
struct Named {
    text: Arc<str>,
    host_len: usize,
    port: Option<u16>,
}

impl Named {
    fn of(head: &Parts, scheme: Scheme) -> Result<Self, BadTarget> {
        let field = host_field(&head.headers)?;
        let in_field = match field {
            Some(value) => Some(Authority::parse(value.to_str().map_err(|_| BadAuthority::Host)?, scheme)?),
            None => None,
        };
        if let Some(in_uri) = head.uri.authority() {
            let parsed = Authority::parse(in_uri.as_str(), scheme)?;
            match &in_field {
                Some(other) if head.version == Version::HTTP_2 && other.as_str() != parsed.as_str() => {
                    return Err(BadTarget::HostsDiffer);
                }
                None if head.version == Version::HTTP_11 => return Err(BadTarget::NoHost),
                _ => return Ok(Self::keep(&parsed)),
            }
        }
        match in_field {
            Some(parsed) => Ok(Self::keep(&parsed)),
            None if head.version <= Version::HTTP_10 => {
                Ok(Self { text: Arc::default(), host_len: 0, port: None })
            }
            None => Err(BadTarget::NoHost),
        }
    }

    fn keep(parsed: &Authority<'_>) -> Self {
        Self { text: parsed.as_str().into(), host_len: parsed.host().len(), port: parsed.port() }
    }
}

/// The one `Host` field line.
fn host_field(headers: &HeaderMap) -> Result<Option<&HeaderValue>, BadTarget> {
    let mut lines = headers.get_all(HOST).iter();
    let first = lines.next();
    if lines.next().is_some() { Err(BadTarget::ManyHosts) } else { Ok(first) }
}

/// An `https` target must have come over a secured connection. One that says `http` over TLS is served for what its
/// connection is.
fn check_scheme(uri: &Uri, connection: Scheme) -> Result<(), BadTarget> {
    match uri.scheme_str() {
        None => Ok(()),
        Some(named) => match (Scheme::parse(named), connection) {
            (None, _) | (Some(Scheme::Https), Scheme::Http) => Err(BadTarget::Scheme),
            _ => Ok(()),
        },
    }
}

fn normal_form(method: &Method, sent: &PathAndQuery) -> Result<PathAndQuery, BadTarget> {
    let path = sent.path();
    if path == "*" {
        // RFC 9112 3.2.4.
        return if *method == Method::OPTIONS && sent.query().is_none() {
            Ok(sent.clone())
        } else {
            Err(BadTarget::Form)
        };
    }
    let mut normal = match normalise(path)? {
        // `http://example.com?q` has the path `/`, but not in its text.
        Cow::Borrowed(_) if sent.as_str().starts_with('/') && sent.as_str().len() <= MAX_LENGTH => {
            return Ok(sent.clone());
        }
        normal => normal.into_owned(),
    };
    if let Some(query) = sent.query() {
        normal.push('?');
        normal.push_str(query);
    }
    if normal.len() > MAX_LENGTH {
        return Err(BadTarget::TooLong);
    }
    PathAndQuery::from_maybe_shared(Bytes::from(normal)).map_err(|_| BadTarget::Form)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: Method, uri: &str, version: Version, hosts: &[&str]) -> Parts {
        let mut request = http::Request::builder().method(method).uri(uri).version(version);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn get(uri: &str, hosts: &[&str]) -> Result<Target, BadTarget> {
        Target::of(&head(Method::GET, uri, Version::HTTP_11, hosts), false)
    }

    #[test]
    fn every_form_of_target_comes_to_one() {
        for (uri, host, version, authority, target) in [
            ("/a?b=%7e", "Example.com:80", Version::HTTP_11, "example.com", "/a?b=%7e"),
            ("/%7ea/../b%2f?x", "example.com:8080", Version::HTTP_11, "example.com:8080", "/b%2F?x"),
            ("http://Other.example/a/./b", "example.com", Version::HTTP_11, "other.example", "/a/b"),
            ("http://other.example", "example.com", Version::HTTP_11, "other.example", "/"),
            ("http://other.example?q", "example.com", Version::HTTP_11, "other.example", "/?q"),
            ("http://example.com/h2", "example.com:80", Version::HTTP_2, "example.com", "/h2"),
            ("/?", "[::1]:81", Version::HTTP_11, "[::1]:81", "/?"),
        ] {
            let parsed = Target::of(&head(Method::GET, uri, version, &[host]), false).unwrap();
            assert_eq!((parsed.authority(), parsed.path_and_query().as_str()), (authority, target), "{uri}");
            assert_eq!(parsed.authority_value(), authority);
            assert!(parsed.authority().starts_with(parsed.host()));
        }
    }

    #[test]
    fn parts_are_told_apart() {
        let target = get("/a%2fb?x=1", &["example.com:8080"]).unwrap();
        assert_eq!((target.host(), target.port(), target.scheme()), ("example.com", 8080, Scheme::Http));
        assert_eq!((target.path(), target.query()), ("/a%2Fb", Some("x=1")));
        assert_eq!(target.sent().as_str(), "/a%2fb?x=1");
        assert_eq!(get("/", &["example.com"]).unwrap().port(), 80);
    }

    #[test]
    fn http_1_0_may_name_no_host() {
        let target = Target::of(&head(Method::GET, "/a", Version::HTTP_10, &[]), false).unwrap();
        assert_eq!((target.authority(), target.host(), target.authority_value().len()), ("", "", 0));
    }

    #[test]
    fn http_2_needs_no_host_field() {
        let target =
            Target::of(&head(Method::GET, "https://a.example:443/x", Version::HTTP_2, &[]), true).unwrap();
        assert_eq!((target.authority(), target.port(), target.scheme()), ("a.example", 443, Scheme::Https));
    }

    #[test]
    fn options_may_ask_for_the_server() {
        let star = head(Method::OPTIONS, "*", Version::HTTP_11, &["a"]);
        assert_eq!(Target::of(&star, false).unwrap().path(), "*");
        assert_eq!(get("*", &["a"]).unwrap_err(), BadTarget::Form);
    }

    #[test]
    fn bad_targets_say_why() {
        for (uri, hosts, why) in [
            ("/", &[][..], BadTarget::NoHost),
            ("http://a/", &[], BadTarget::NoHost),
            ("/", &["a", "a"], BadTarget::ManyHosts),
            ("http://a/", &["a", "b"], BadTarget::ManyHosts),
            ("/", &[""], BadTarget::Authority(BadAuthority::Empty)),
            ("/", &["a b"], BadTarget::Authority(BadAuthority::Host)),
            ("/", &["a@b"], BadTarget::Authority(BadAuthority::Userinfo)),
            ("http://u:p@a/", &["a"], BadTarget::Authority(BadAuthority::Userinfo)),
            ("http://a/", &["a/b"], BadTarget::Authority(BadAuthority::Host)),
            ("https://a/", &["a"], BadTarget::Scheme),
            ("ftp://a/", &["a"], BadTarget::Scheme),
            ("a:80", &["a:80"], BadTarget::Form),
            ("/%zz", &["a"], BadTarget::Path(BadPath::Escape)),
        ] {
            assert_eq!(get(uri, hosts).unwrap_err(), why, "{uri} {hosts:?}");
        }
        let differ = head(Method::GET, "http://a/", Version::HTTP_2, &["b"]);
        assert_eq!(Target::of(&differ, false).unwrap_err(), BadTarget::HostsDiffer);
    }

    #[test]
    fn a_target_that_grows_too_long_is_refused() {
        let long = format!("/{}", "{".repeat(30_000));
        assert_eq!(get(&long, &["a"]).unwrap_err(), BadTarget::TooLong);
    }

    #[test]
    fn a_normal_target_shares_the_request_s_own_text() {
        let head = head(Method::GET, "/v1/users?q", Version::HTTP_11, &["example.com"]);
        let target = Target::of(&head, false).unwrap();
        let same = |one: &str, other: &str| std::ptr::eq(one.as_ptr(), other.as_ptr());
        assert!(same(target.path_and_query().as_str(), head.uri.path_and_query().unwrap().as_str()));
    }
}

//! The key under which a route stores: host and target as its rules leave them, and what is computed beside the
//! request's fields.
//!
//! What is keyed decides what is shared; what is forwarded stays as it came. So each rule here either splits keys
//! that might have been one, or joins keys on the route's word that the difference makes none.

pub(super) mod cookie;
mod forms;
mod query;
mod user;

pub use forms::Form;
pub use query::{QueryCase, QueryRules};
pub use user::{ClaimKey, Doubt, UserKey};
pub(super) use user::{User, Users};

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, Method, header};

use super::site::Route;
use crate::cache::key::{FieldHash, KeyParts, Part, Secret, field_hash};
use crate::http::target::Target;

/// The authority of keys that hosts share: no host is called so.
pub const ANY_HOST: &str = "*";

/// How a route's keys are made, beside what its match looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySettings {
    /// What of the query belongs to the key.
    pub query: QueryRules,
    /// Request fields that belong to the key.
    pub headers: Vec<http::HeaderName>,
    /// Cookies whose values belong to the key.
    pub cookies: Vec<CookieName>,
    /// Whether the host belongs to the key.
    pub host: bool,
    /// Whether the method belongs to the key: HEAD is not answered from what GET stored then.
    pub method: bool,
    /// The longest body, in bytes, that belongs to the key of GET, POST and QUERY, which count as queries then; `None`:
    /// requests with a body are not answered from the cache.
    pub body: Option<u64>,
    /// How users are told apart, each of whom has replies of its own.
    pub user: Option<UserKey>,
}

/// A cookie of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieName {
    /// As the part of the key is called.
    part: Box<str>,
}

impl CookieName {
    /// By the cookie's own name.
    pub fn new(name: &str) -> Self {
        Self { part: format!("{}{name}", Part::COOKIE).into() }
    }

    /// The cookie's own name.
    pub fn name(&self) -> &str {
        &self.part[Part::COOKIE.len()..]
    }
}

impl Default for KeySettings {
    fn default() -> Self {
        Self {
            query: QueryRules::default(),
            headers: Vec::new(),
            cookies: Vec::new(),
            host: true,
            method: false,
            body: None,
            user: None,
        }
    }
}

impl KeySettings {
    /// The host of the key.
    pub fn authority<'a>(&self, authority: &'a str) -> &'a str {
        if self.host { authority } else { ANY_HOST }
    }

    /// Path and query of the key.
    pub fn target<'a>(&self, path_and_query: &'a str) -> Cow<'a, str> {
        self.query.apply(path_and_query)
    }

    /// Whether all cookies that these fields have belong to the key, so that none of them is left to be private.
    pub(super) fn covers_cookies(&self, headers: &HeaderMap) -> bool {
        !self.cookies.is_empty()
            && cookie::all(headers, |name| self.cookies.iter().any(|key| key.name() == name))
    }

    /// The names of the computed parts of a request without a body, in their order.
    pub fn part_names(&self) -> impl Iterator<Item = &str> {
        let method = self.method.then_some(Part::METHOD);
        let user = self.user.as_ref().map(|_| Part::USER);
        method.into_iter().chain(self.cookies.iter().map(|cookie| &*cookie.part)).chain(user)
    }

    /// Whether requests of this method are queries whose body belongs to the key.
    pub fn takes_content(&self, method: &Method) -> bool {
        self.body.is_some() && matches!(method.as_str(), "GET" | "POST" | "QUERY")
    }

    fn has_parts(&self) -> bool {
        self.method || self.user.is_some() || !self.cookies.is_empty()
    }
}

/// What of a request the computed parts are made from.
#[derive(Clone, Copy)]
pub(super) struct Facts<'r> {
    pub(super) method: &'r Method,
    pub(super) headers: &'r HeaderMap,
    /// The body, where it belongs to the key.
    pub(super) body: Option<&'r Bytes>,
    /// The user, where the route tells users apart and there is one.
    pub(super) user: Option<FieldHash>,
    /// The number of the slice that it is for.
    pub(super) slice: Option<u64>,
}

/// What a request's key is made of, beside its fields.
pub(super) struct Keyed<'a> {
    route: &'a Route,
    target: &'a Target,
    /// Boxed, since most requests have none, and the future of a hit is moved about.
    made: Option<Box<Made<'a>>>,
}

/// What of a key is made rather than found in the request.
#[derive(Default)]
struct Made<'a> {
    /// Path and query, where they are not the request's own.
    target: Option<String>,
    /// Computed parts.
    extra: Vec<Part<'a>>,
}

impl<'a> Keyed<'a> {
    pub(super) fn of(route: &'a Route, target: &'a Target, request: Facts<'_>, secret: &Secret) -> Self {
        let rules = &route.cache.key;
        let mut key = Self { route, target, made: None };
        if let Cow::Owned(own) = rules.target(target.path_and_query().as_str()) {
            key.made().target = Some(own);
        }
        if let Some(client) = &route.matcher.client {
            // All that the route takes are alike in this, and others are not.
            let value = Some(secret.hash([client.to_string().as_bytes()]));
            key.made().extra.push(Part { name: Part::CLIENT, value });
        }
        if rules.has_parts() || request.body.is_some() {
            key.add_parts(rules, request, secret);
        }
        if let Some(number) = request.slice {
            let value = Some(secret.hash([&number.to_le_bytes()[..]]));
            key.made().extra.push(Part { name: Part::SLICE, value });
        }
        key
    }

    fn made(&mut self) -> &mut Made<'a> {
        self.made.get_or_insert_default()
    }

    fn add_parts(&mut self, rules: &'a KeySettings, request: Facts<'_>, secret: &Secret) {
        let extra = &mut self.made().extra;
        if rules.method || request.body.is_some() {
            let method = request.method.as_str();
            extra.push(Part { name: Part::METHOD, value: Some(secret.hash([method.as_bytes()])) });
        }
        if let Some(body) = request.body {
            extra.push(Part { name: Part::BODY, value: Some(content_hash(request.headers, body, secret)) });
        }
        for cookie in &rules.cookies {
            let value = cookie::value(request.headers, cookie.name(), secret);
            extra.push(Part { name: &cookie.part, value });
        }
        if rules.user.is_some() {
            extra.push(Part { name: Part::USER, value: request.user });
        }
    }

    /// The whole key of a request with these fields.
    pub(super) fn parts<'k>(&'k self, headers: &'k HeaderMap) -> KeyParts<'k> {
        let made = self.made.as_deref();
        KeyParts {
            upstream: &self.route.upstream_name,
            scheme: self.target.scheme().as_str(),
            authority: self.route.cache.key.authority(self.target.authority()),
            target: made
                .and_then(|made| made.target.as_deref())
                .unwrap_or(self.target.path_and_query().as_str()),
            fields: &self.route.key_fields,
            headers,
            extra: made.map_or(&[], |made| &made.extra),
        }
    }
}

/// The hash of a body and of what says how to read it.
fn content_hash(headers: &HeaderMap, body: &Bytes, secret: &Secret) -> FieldHash {
    // Each with the hash of its own lines, so that no line of one is taken for a line of the other.
    let hash = |name| field_hash(headers, name, secret).map_or([0; 16], |hash| hash.0);
    secret.hash([&hash(&header::CONTENT_TYPE)[..], &hash(&header::CONTENT_ENCODING)[..], &body[..]])
}

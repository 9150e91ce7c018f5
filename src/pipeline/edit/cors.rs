//! Cross-origin requests by the Fetch standard: which scripts of other origins may read a route's replies, and send what a
//! form could not.
//!
//! Nothing here keeps a request out: a browser asks, and obeys what the fields say. They are made anew for each reply as it
//! leaves, and those of the origin give way, so that one stored response serves every origin.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, request};

use crate::http::origin::{self, OriginPattern};
use crate::http::vary::{self, Vary};

/// A policy.
#[derive(Clone, Debug)]
pub struct Cors {
    /// Whose scripts may.
    pub origins: Vec<OriginPattern>,
    /// With these methods; `None`: with any.
    pub methods: Option<HeaderValue>,
    /// And these request fields; `None`: with any.
    pub headers: Option<HeaderValue>,
    /// The reply fields that they may read beside those that anyone may.
    pub expose: Option<HeaderValue>,
    /// Whether they may send cookies and the like, and read what they get then.
    pub credentials: bool,
    /// How long browsers may remember what a preflight said, in seconds.
    pub max_age: Option<HeaderValue>,
    /// Whether pages from the internet may ask, though this is in a private network.
    pub private_network: bool,
}

/// What a request's origin is told in the reply.
#[derive(Clone, Debug, Default)]
pub enum Grant {
    /// Nothing.
    #[default]
    None,
    /// That it may, as `Access-Control-Allow-Origin` has it.
    Origin(HeaderValue),
    /// Its preflight, which the reply answers already.
    Told,
}

/// Which fields say who may; an origin's own go.
const OURS: [HeaderName; 7] = [
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
    ALLOW_PRIVATE_NETWORK,
];

const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");
const REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const TRUE: HeaderValue = HeaderValue::from_static("true");

/// The method of the request that a preflight is sent for (Fetch 3.3.2); `None`: it is a request of its own.
pub fn preflight(head: &request::Parts) -> Option<Method> {
    if head.method != Method::OPTIONS || origin::of(&head.headers).is_none() {
        return None;
    }
    let mut lines = head.headers.get_all(ACCESS_CONTROL_REQUEST_METHOD).iter();
    let method = lines.next().filter(|_| lines.next().is_none())?;
    Method::from_bytes(method.as_bytes()).ok()
}

/// Whether a reply's field is one that a policy makes.
pub fn is_made_here(name: &HeaderName) -> bool {
    OURS.contains(name)
}

impl Cors {
    /// Whether every origin may, so that all replies say the same.
    pub fn takes_any(&self) -> bool {
        self.origins.contains(&OriginPattern::Any)
    }

    /// What a request with these fields is granted.
    pub fn grant(&self, headers: &HeaderMap) -> Grant {
        if self.takes_any() {
            return Grant::Origin(HeaderValue::from_static("*"));
        }
        let Some(origin) = origin::of(headers) else { return Grant::None };
        let takes = |named: &str| self.origins.iter().any(|pattern| pattern.takes(named));
        match origin.to_str() {
            Ok(named) if takes(named) => Grant::Origin(origin.clone()),
            _ => Grant::None,
        }
    }

    /// The fields of the reply to a preflight; `None`: its origin may nothing. Whether method and fields are among those
    /// that are named, the browser sees, and says to whoever looks at its console.
    pub fn answer(&self, grant: &Grant, asked: &HeaderMap) -> Option<HeaderMap> {
        let Grant::Origin(origin) = grant else { return None };
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let methods = self.methods.as_ref().or_else(|| asked.get(ACCESS_CONTROL_REQUEST_METHOD));
        headers.extend(methods.map(|methods| (ACCESS_CONTROL_ALLOW_METHODS, methods.clone())));
        let fields = self.headers.clone().or_else(|| asked_fields(asked));
        headers.extend(fields.map(|fields| (ACCESS_CONTROL_ALLOW_HEADERS, fields)));
        if self.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
        headers.extend(self.max_age.clone().map(|seconds| (ACCESS_CONTROL_MAX_AGE, seconds)));
        if self.private_network && asked.get(REQUEST_PRIVATE_NETWORK).is_some_and(|asked| asked == "true") {
            headers.insert(ALLOW_PRIVATE_NETWORK, TRUE);
        }
        let varies = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, Access-Control-Request-Private-Network";
        headers.insert(VARY, HeaderValue::from_static(varies));
        Some(headers)
    }

    /// Says in a reply what its request was granted.
    pub fn reply(&self, grant: Grant, headers: &mut HeaderMap) {
        if matches!(grant, Grant::Told) {
            return;
        }
        for name in &OURS {
            headers.remove(name);
        }
        if let Grant::Origin(origin) = grant {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            if self.credentials {
                headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
            }
            headers.extend(self.expose.clone().map(|names| (ACCESS_CONTROL_EXPOSE_HEADERS, names)));
        }
        // Caches behind us must keep replies apart that differ, those to no origin too (Fetch 3.3.3).
        if !self.takes_any() && !varies_by_origin(headers) {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
    }
}

fn varies_by_origin(headers: &HeaderMap) -> bool {
    match vary::of(headers) {
        Vary::Any => true,
        Vary::Names(names) => names.contains(&http::header::ORIGIN),
    }
}

/// The names that a preflight asks for, over all its lines; `None`: none, or something that is no name.
fn asked_fields(asked: &HeaderMap) -> Option<HeaderValue> {
    let mut names = String::new();
    for line in asked.get_all(ACCESS_CONTROL_REQUEST_HEADERS) {
        for name in line.to_str().ok()?.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            HeaderName::from_bytes(name.as_bytes()).ok()?;
            if !names.is_empty() {
                names.push_str(", ");
            }
            names.push_str(name);
        }
    }
    (!names.is_empty()).then(|| HeaderValue::try_from(names).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::test_headers::{headers, lines};

    fn cors(origins: &[&str]) -> Cors {
        Cors {
            origins: origins.iter().map(|text| OriginPattern::parse(text).unwrap()).collect(),
            methods: Some(HeaderValue::from_static("GET, PUT")),
            headers: None,
            expose: Some(HeaderValue::from_static("etag")),
            credentials: false,
            max_age: None,
            private_network: false,
        }
    }

    fn head(method: Method, fields: &[&str]) -> request::Parts {
        let mut head = http::Request::builder().method(method).body(()).unwrap().into_parts().0;
        head.headers = headers(fields);
        head
    }

    #[test]
    fn a_preflight_is_options_with_an_origin_and_a_method() {
        let whole = ["origin: https://a.test", "access-control-request-method: PUT"];
        assert_eq!(preflight(&head(Method::OPTIONS, &whole)), Some(Method::PUT));
        for (method, fields) in [
            (Method::GET, &whole[..]),
            (Method::OPTIONS, &whole[..1]),
            (Method::OPTIONS, &whole[1..]),
            (Method::OPTIONS, &[whole[0], "access-control-request-method: P UT"]),
            (Method::OPTIONS, &[whole[0], whole[1], "access-control-request-method: GET"]),
            (Method::OPTIONS, &[whole[0], whole[1], "origin: https://b.test"]),
        ] {
            assert_eq!(preflight(&head(method, fields)), None, "{fields:?}");
        }
    }

    #[test]
    fn a_preflight_is_told_what_the_policy_allows() {
        let asked = headers(&[
            "origin: https://a.test",
            "access-control-request-method: DELETE",
            "access-control-request-headers: x-b,content-type,",
            "access-control-request-private-network: true",
        ]);
        let cors = cors(&["https://a.test"]);
        let told = lines(&cors.answer(&cors.grant(&asked), &asked).unwrap());
        let vary = "vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers, \
                    Access-Control-Request-Private-Network";
        assert_eq!(
            told,
            [
                "access-control-allow-origin: https://a.test",
                "access-control-allow-methods: GET, PUT",
                "access-control-allow-headers: x-b, content-type",
                vary,
            ]
        );
        let all = Cors {
            methods: None,
            headers: Some(HeaderValue::from_static("x-a")),
            credentials: true,
            max_age: Some(HeaderValue::from(600)),
            private_network: true,
            ..cors
        };
        let told = lines(&all.answer(&all.grant(&asked), &asked).unwrap());
        assert_eq!(
            told,
            [
                "access-control-allow-origin: https://a.test",
                "access-control-allow-methods: DELETE",
                "access-control-allow-headers: x-a",
                "access-control-allow-credentials: true",
                "access-control-max-age: 600",
                "access-control-allow-private-network: true",
                vary,
            ]
        );
        let other = headers(&["origin: https://b.test", "access-control-request-method: GET"]);
        assert!(all.answer(&all.grant(&other), &other).is_none());
    }

    #[test]
    fn names_that_are_none_are_not_repeated() {
        let asked = headers(&["access-control-request-headers: x-a, b c"]);
        assert_eq!(asked_fields(&asked), None);
    }

    #[test]
    fn replies_say_it_in_our_words_alone() {
        let origin = [
            "access-control-allow-origin: *",
            "access-control-allow-origin: https://x.test",
            "access-control-allow-credentials: true",
            "access-control-expose-headers: x-own",
            "vary: Accept",
        ];
        let told = |cors: &Cors, asked: &[&str]| {
            let mut fields = headers(&origin);
            cors.reply(cors.grant(&headers(asked)), &mut fields);
            let mut lines = lines(&fields);
            lines.sort();
            lines
        };
        let one = cors(&["https://a.test"]);
        let granted = [
            "access-control-allow-origin: https://a.test",
            "access-control-expose-headers: etag",
            "vary: Accept",
            "vary: Origin",
        ];
        assert_eq!(told(&one, &["origin: https://a.test"]), granted);
        for asked in [&[][..], &["origin: https://b.test"], &["origin: null"]] {
            assert_eq!(told(&one, asked), ["vary: Accept", "vary: Origin"], "{asked:?}");
        }
        let any = cors(&["*"]);
        let granted =
            ["access-control-allow-origin: *", "access-control-expose-headers: etag", "vary: Accept"];
        for asked in [&[][..], &["origin: https://b.test"]] {
            assert_eq!(told(&any, asked), granted, "{asked:?}");
        }
        let mut varied = headers(&["vary: accept, ORIGIN"]);
        one.reply(Grant::None, &mut varied);
        assert_eq!(lines(&varied), ["vary: accept, ORIGIN"]);
    }
}

//! Edits of fields. What a request's edit makes is what the cache goes by and what the origin gets, as if the client had sent
//! it so. A reply's edit is made on what is sent: what is stored stays as the origin said.

use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::template::{Template, Variable};
use crate::http::target::Target;
use crate::telemetry::event::RequestId;

/// What becomes of fields, in this order.
#[derive(Clone, Debug, Default)]
pub struct FieldEdit {
    /// Other names for fields.
    pub rename: Vec<(HeaderName, HeaderName)>,
    /// Fields that go.
    pub remove: Vec<HeaderName>,
    /// Fields that have this value and no other; none, where it comes out empty.
    pub set: Vec<(HeaderName, Value)>,
    /// Lines that are added.
    pub add: Vec<(HeaderName, Value)>,
}

/// The edits of a route.
#[derive(Clone, Debug, Default)]
pub struct FieldEdits {
    /// Of requests.
    pub request: FieldEdit,
    /// Of replies.
    pub response: FieldEdit,
    /// Whether replies get what tells browsers to be careful.
    pub security: bool,
}

/// A value.
#[derive(Clone, Debug)]
pub enum Value {
    /// The same for all.
    Fixed(HeaderValue),
    /// With what variables stand for.
    Made(Template),
}

/// What the variables of a request stand for.
pub struct RequestFacts<'a> {
    /// The client's address, as far as it is believed; `None`: nobody sent the request.
    pub client: Option<IpAddr>,
    /// The user who has given the right password.
    pub user: Option<&'a str>,
    /// The exchange's id.
    pub id: Option<&'a RequestId>,
    /// The method.
    pub method: &'a Method,
    /// What is forwarded.
    pub target: &'a Target,
    /// The route's name.
    pub route: &'a str,
    /// The upstream's.
    pub upstream: &'a str,
}

/// What the variables of a reply stand for.
pub struct ReplyFacts<'a> {
    /// The client's address, as far as it is believed.
    pub client: IpAddr,
    /// The user who has given the right password.
    pub user: Option<&'a str>,
    /// The exchange's id.
    pub id: &'a RequestId,
    /// The method.
    pub method: &'a Method,
    /// Whether the client came by `https`.
    pub secure: bool,
    /// The host that it named, and the port.
    pub authority: &'a str,
    /// The reply's status.
    pub status: StatusCode,
    /// The route's name.
    pub route: &'a str,
    /// The upstream's.
    pub upstream: &'a str,
}

impl FieldEdits {
    /// Makes a request what is looked up, and forwarded.
    pub fn request(&self, headers: &mut HeaderMap, facts: &RequestFacts<'_>) {
        self.keep_from_connection(headers);
        self.request.apply(headers, |variable, headers, to| facts.put(variable, headers, to));
    }

    /// Makes a reply what is sent.
    pub fn reply(&self, headers: &mut HeaderMap, facts: &ReplyFacts<'_>) {
        self.response.apply(headers, |variable, headers, to| facts.put(variable, headers, to));
        if self.security {
            secure(headers);
        }
    }

    /// Fields that `Connection` names end at this hop (RFC 9110 7.6.1). A client must not end so what is set here.
    fn keep_from_connection(&self, headers: &mut HeaderMap) {
        let own = |name: &str| {
            let FieldEdit { rename, set, add, .. } = &self.request;
            let set = set.iter().chain(add).map(|(name, _)| name);
            set.chain(rename.iter().map(|(_, to)| to)).any(|own| own.as_str().eq_ignore_ascii_case(name))
        };
        let lines = headers.get_all(CONNECTION).iter().filter_map(|line| line.to_str().ok());
        let named: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
        if !named.iter().any(|name| own(name)) {
            return;
        }
        let kept = named.into_iter().filter(|name| !own(name)).collect::<Vec<_>>().join(", ");
        match HeaderValue::try_from(kept) {
            Ok(kept) if !kept.is_empty() => headers.insert(CONNECTION, kept),
            _ => headers.remove(CONNECTION),
        };
    }
}

impl FieldEdit {
    /// Whether it leaves every message alone.
    pub fn is_empty(&self) -> bool {
        self.rename.is_empty() && self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    fn apply(&self, headers: &mut HeaderMap, put: impl Fn(&Variable, &HeaderMap, &mut String)) {
        for (from, to) in &self.rename {
            let values: Vec<HeaderValue> = headers.get_all(from).iter().cloned().collect();
            if !values.is_empty() {
                headers.remove(from);
                headers.remove(to);
                for value in values {
                    headers.append(to.clone(), value);
                }
            }
        }
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            match value.of(headers, &put) {
                Some(value) => headers.insert(name.clone(), value),
                None => headers.remove(name),
            };
        }
        for (name, value) in &self.add {
            if let Some(value) = value.of(headers, &put) {
                headers.append(name.clone(), value);
            }
        }
    }
}

impl Value {
    /// The variables in it.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        let template = match self {
            Self::Fixed(_) => None,
            Self::Made(template) => Some(template),
        };
        template.into_iter().flat_map(Template::variables)
    }

    fn of(
        &self,
        headers: &HeaderMap,
        put: impl Fn(&Variable, &HeaderMap, &mut String),
    ) -> Option<HeaderValue> {
        let value = match self {
            Self::Fixed(value) => value.clone(),
            // Line breaks cannot come of a variable: a value that is none is left out.
            Self::Made(template) => {
                let text = template.expand(|variable, to| put(variable, headers, to));
                HeaderValue::from_bytes(text.trim_matches([' ', '\t']).as_bytes()).ok()?
            }
        };
        (!value.is_empty()).then_some(value)
    }
}

impl RequestFacts<'_> {
    fn put(&self, variable: &Variable, headers: &HeaderMap, to: &mut String) {
        match variable {
            Variable::Client => to.push_str(&self.client.map(address).unwrap_or_default()),
            Variable::User => to.push_str(self.user.unwrap_or_default()),
            Variable::RequestId => to.push_str(&self.id.map(ToString::to_string).unwrap_or_default()),
            Variable::Method => to.push_str(self.method.as_str()),
            Variable::Route => to.push_str(self.route),
            Variable::Upstream => to.push_str(self.upstream),
            Variable::Header(name) => lines(headers, name, to),
            Variable::Status | Variable::Reply(_) => {}
            of_target => self.target.put(of_target, to),
        }
    }
}

impl ReplyFacts<'_> {
    fn put(&self, variable: &Variable, headers: &HeaderMap, to: &mut String) {
        match variable {
            Variable::Client => to.push_str(&address(self.client)),
            Variable::User => to.push_str(self.user.unwrap_or_default()),
            Variable::RequestId => to.push_str(&self.id.to_string()),
            Variable::Method => to.push_str(self.method.as_str()),
            Variable::Scheme => to.push_str(if self.secure { "https" } else { "http" }),
            Variable::Authority => to.push_str(self.authority),
            Variable::Host => to.push_str(without_port(self.authority)),
            Variable::Status => to.push_str(self.status.as_str()),
            Variable::Route => to.push_str(self.route),
            Variable::Upstream => to.push_str(self.upstream),
            Variable::Reply(name) => lines(headers, name, to),
            Variable::Path | Variable::Query | Variable::Header(_) => {}
        }
    }
}

fn address(address: IpAddr) -> String {
    address.to_canonical().to_string()
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// All lines of a field as one value (RFC 9110 5.3).
fn lines(headers: &HeaderMap, name: &HeaderName, to: &mut String) {
    let lines = headers.get_all(name).iter().filter_map(|line| std::str::from_utf8(line.as_bytes()).ok());
    for (at, line) in lines.enumerate() {
        if at > 0 {
            to.push_str(", ");
        }
        to.push_str(line);
    }
}

/// What tells browsers to be careful, where the origin says nothing about it.
fn secure(headers: &mut HeaderMap) {
    let careful = [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "strict-origin-when-cross-origin"),
        (X_FRAME_OPTIONS, "SAMEORIGIN"),
        (CONTENT_SECURITY_POLICY, "frame-ancestors 'self'"),
    ];
    for (name, value) in careful {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::test_headers::{headers, lines as sorted};

    fn name(text: &str) -> HeaderName {
        HeaderName::from_bytes(text.as_bytes()).unwrap()
    }

    fn value(text: &str) -> Value {
        let template = Template::parse(text).unwrap();
        let varies = template.variables().next().is_some();
        if varies { Value::Made(template) } else { Value::Fixed(HeaderValue::from_str(text).unwrap()) }
    }

    fn edit(
        rename: &[(&str, &str)],
        remove: &[&str],
        set: &[(&str, &str)],
        add: &[(&str, &str)],
    ) -> FieldEdit {
        let values =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(own, text)| (name(own), value(text))).collect();
        FieldEdit {
            rename: rename.iter().map(|(from, to)| (name(from), name(to))).collect(),
            remove: remove.iter().map(|own| name(own)).collect(),
            set: values(set),
            add: values(add),
        }
    }

    fn requested(edit: FieldEdit, given: &[&str]) -> Vec<String> {
        let request = http::Request::builder().uri("/a?b").header("host", "api.test:81").body(()).unwrap();
        let target = Target::of(&request.into_parts().0, false).unwrap();
        let facts = RequestFacts {
            client: Some("::ffff:192.0.2.1".parse().unwrap()),
            user: None,
            id: None,
            method: &Method::GET,
            target: &target,
            route: "all",
            upstream: "web",
        };
        let mut fields = headers(given);
        FieldEdits { request: edit, ..FieldEdits::default() }.request(&mut fields, &facts);
        let mut lines = sorted(&fields);
        lines.sort();
        lines
    }

    #[test]
    fn rename_then_remove_then_set_then_add() {
        let edit = edit(
            &[("x-old", "x-new"), ("x-none", "x-kept")],
            &["x-secret"],
            &[
                ("x-client", "{client}"),
                ("x-seen", "{method} {scheme}://{authority}{path}{query} by {route}"),
            ],
            &[("x-list", "{header.x-new}"), ("x-list", "{header.absent}")],
        );
        let given =
            ["x-old: 1", "x-old: 2", "x-new: 0", "x-kept: k", "x-secret: s", "x-client: forged", "x-list: a"];
        let sent = requested(edit, &given);
        let expected = [
            "x-client: 192.0.2.1",
            "x-kept: k",
            "x-list: 1, 2",
            "x-list: a",
            "x-new: 1",
            "x-new: 2",
            "x-seen: GET http://api.test:81/a?b by all",
        ];
        assert_eq!(sent, expected);
    }

    #[test]
    fn what_comes_out_empty_is_not_sent() {
        let set = edit(&[], &[], &[("x-a", "{header.absent}"), ("x-b", "{status}")], &[]);
        assert_eq!(requested(set, &["x-a: forged", "x-b: forged"]), [""; 0]);
    }

    /// RFC 9110 7.6.1: what `Connection` names is taken out before the request goes on.
    #[test]
    fn a_client_cannot_end_at_this_hop_what_is_set_here() {
        let set = || edit(&[("x-r", "x-renamed")], &[], &[("x-client", "{client}")], &[("x-add", "1")]);
        let sent = requested(set(), &["connection: close, X-Client", "connection: x-add,x-renamed,x-other"]);
        assert_eq!(sent, ["connection: close, x-other", "x-add: 1", "x-client: 192.0.2.1"]);
        let sent = requested(set(), &["connection: x-client"]);
        assert_eq!(sent, ["x-add: 1", "x-client: 192.0.2.1"]);
    }

    #[test]
    fn replies_know_their_status_and_the_origin_s_word_on_safety_stands() {
        let response = edit(&[], &["server"], &[("x-told", "{status} {host} {reply.etag}")], &[]);
        let edits = FieldEdits { response, security: true, ..FieldEdits::default() };
        let id = RequestId::Given("id".into());
        let facts = ReplyFacts {
            client: "192.0.2.1".parse().unwrap(),
            user: None,
            id: &id,
            method: &Method::GET,
            secure: false,
            authority: "[::1]:81",
            status: StatusCode::NOT_FOUND,
            route: "all",
            upstream: "web",
        };
        let mut fields = headers(&["server: x", "etag: \"a\"", "x-frame-options: DENY"]);
        edits.reply(&mut fields, &facts);
        assert_eq!(fields["x-told"], "404 [::1] \"a\"");
        assert!(!fields.contains_key("server"));
        assert_eq!(fields["x-frame-options"], "DENY");
        assert_eq!(fields["x-content-type-options"], "nosniff");
        assert_eq!(fields["content-security-policy"], "frame-ancestors 'self'");
    }
}

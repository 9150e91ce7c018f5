//! What `logs --filter` can ask of a finished exchange.

use std::borrow::Cow;

use super::account::{Account, Id};
use super::event::Finished;
use super::filter::{Field, Fields, Kind, Value};

impl Fields for Finished {
    const FIELDS: &'static [Field] = &[
        Field { name: "status", kind: Kind::Status, help: "status sent: 404, 5xx; 0 where there was none" },
        Field { name: "route", kind: Kind::Word, help: "name of the route" },
        Field {
            name: "cache",
            kind: Kind::Word,
            help: "hit, stale, revalidated, miss, collapsed, bypass, none",
        },
        Field { name: "method", kind: Kind::Word, help: "request method" },
        Field { name: "path", kind: Kind::Text, help: "path without the query" },
        Field { name: "target", kind: Kind::Text, help: "path and query" },
        Field { name: "host", kind: Kind::Word, help: "host that the client asked for" },
        Field { name: "duration", kind: Kind::Duration, help: "from request head to the end of the reply" },
        Field {
            name: "first_byte",
            kind: Kind::Duration,
            help: "from request head to the head of the reply",
        },
        Field { name: "client", kind: Kind::Word, help: "address of the client" },
        Field { name: "protocol", kind: Kind::Word, help: "1.0, 1.1, 2 or internal" },
        Field { name: "tls", kind: Kind::Word, help: "TLSv1.2 or TLSv1.3" },
        Field { name: "cipher", kind: Kind::Word, help: "cipher suite of the client's TLS" },
        Field { name: "sni", kind: Kind::Word, help: "name that the client's TLS asked for" },
        Field { name: "resumed", kind: Kind::Flag, help: "whether the TLS session was resumed" },
        Field { name: "client_cert", kind: Kind::Text, help: "first name of the client's certificate" },
        Field { name: "user", kind: Kind::Text, help: "user who has given the right password" },
        Field { name: "upstream", kind: Kind::Word, help: "name of the upstream asked" },
        Field { name: "endpoint", kind: Kind::Word, help: "endpoint that answered, host:port" },
        Field { name: "attempts", kind: Kind::Number, help: "how often an endpoint was asked" },
        Field { name: "bytes", kind: Kind::Size, help: "body bytes sent" },
        Field { name: "received", kind: Kind::Size, help: "body bytes received" },
        Field { name: "id", kind: Kind::Text, help: "request id" },
        Field {
            name: "end",
            kind: Kind::Word,
            help: "complete, client_aborted, upstream_aborted, timed_out, refused",
        },
        Field { name: "error", kind: Kind::Word, help: "error type of Proxy-Status" },
        Field { name: "limit", kind: Kind::Word, help: "rate limit that refused it" },
        Field { name: "limit_dry_run", kind: Kind::Word, help: "rate limit that would have refused it" },
    ];

    fn value(&self, field: &'static str) -> Value<'_> {
        value(Account::from(self), field)
    }
}

impl Fields for Account<'_> {
    const FIELDS: &'static [Field] = Finished::FIELDS;

    fn value(&self, field: &'static str) -> Value<'_> {
        value(*self, field)
    }
}

fn value<'a>(account: Account<'a>, field: &'static str) -> Value<'a> {
    let session = account.session;
    let maybe = |text: Option<&'static str>| text.map_or(Value::Absent, |text| Value::Text(text.into()));
    match field {
        "status" => Value::Number(account.status.into()),
        "route" => named(account.route),
        "cache" => Value::Text(account.cache.as_str().into()),
        "method" => Value::Text(account.method.into()),
        "path" => Value::Text(account.target.split('?').next().unwrap_or_default().into()),
        "target" => Value::Text(account.target.into()),
        "host" => Value::Text(account.host.into()),
        "duration" => Value::Duration(account.duration),
        "first_byte" => Value::Duration(account.first_byte),
        "client" => Value::Text(account.client.to_string().into()),
        "protocol" => Value::Text(account.protocol.as_str().into()),
        "tls" => maybe(session.map(|session| session.version)),
        "cipher" => maybe(session.map(|session| session.cipher)),
        "sni" => named(session.and_then(|session| session.sni.as_deref())),
        "resumed" => session.map_or(Value::Absent, |session| Value::Flag(session.resumed)),
        "client_cert" => match session.and_then(|session| session.identity.as_ref()) {
            Some(client) => Value::Text(client.name()),
            None => Value::Absent,
        },
        "user" => named(account.user),
        "upstream" => named(account.upstream),
        "endpoint" => named(account.endpoint),
        "attempts" => Value::Number(account.attempts.into()),
        "bytes" => Value::Number(account.sent),
        "received" => Value::Number(account.received),
        "id" => Value::Text(id(account.id)),
        "end" => Value::Text(account.end.as_str().into()),
        "error" => maybe(account.error),
        "limit" => named(account.limit),
        "limit_dry_run" => named(account.limit_dry_run),
        _ => Value::Absent,
    }
}

fn named(name: Option<&str>) -> Value<'_> {
    name.map_or(Value::Absent, |name| Value::Text(name.into()))
}

fn id(id: Id<'_>) -> Cow<'_, str> {
    match id {
        Id::Own(uuid) => uuid.to_string().into(),
        Id::Given(id) => id.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::filter::Filter;
    use crate::telemetry::testing::finished;

    #[test]
    fn every_field_has_a_value_of_its_kind() {
        let mut event = finished();
        event.error = Some("connection_refused");
        event.user = Some("alice".into());
        (event.limit, event.limit_dry_run) = (Some("api".into()), Some("new".into()));
        for field in Finished::FIELDS {
            let fits = match event.value(field.name) {
                Value::Text(_) => matches!(field.kind, Kind::Text | Kind::Word),
                Value::Number(_) => matches!(field.kind, Kind::Number | Kind::Size | Kind::Status),
                Value::Duration(_) => field.kind == Kind::Duration,
                Value::Flag(_) => field.kind == Kind::Flag,
                // What only TLS brings along.
                Value::Absent => ["tls", "cipher", "sni", "resumed", "client_cert"].contains(&field.name),
            };
            assert!(fits, "{field:?}");
        }
    }

    #[test]
    fn path_and_target_differ_by_the_query() {
        for (text, wanted) in [
            ("path == /v1/users", true),
            ("target == '/v1/users?page=2'", true),
            ("path =~ page", false),
            ("client == 192.0.2.7 and protocol == 1.1", true),
        ] {
            assert_eq!(Filter::parse::<Finished>(text).unwrap().matches(&finished()), wanted, "{text}");
        }
    }
}

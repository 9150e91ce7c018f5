//! Edits of fields that cannot be made, or that make replies differ by what stored ones are not kept apart by.

use http::HeaderName;

use super::{Checks, below, route_path};
use crate::config::codes::Code;
use crate::config::compile::route_policy;
use crate::config::edits::may_edit;
use crate::config::file::{Cache, FieldChanges, Mode, Route};
use crate::config::tree::Step;
use crate::pipeline::edit::template::Variable;

impl Checks<'_> {
    pub(super) fn edits(&mut self) {
        for (index, route) in self.file.routes.iter().enumerate() {
            let of =
                [("request_headers", &route.request_headers), ("response_headers", &route.response_headers)];
            for (key, changes) in of {
                let Some(changes) = changes else { continue };
                let (path, of_request) = (route_path(index, key), key == "request_headers");
                self.editable(&path, changes, of_request);
                self.known_variables(&path, changes, of_request);
                if of_request {
                    self.keyed(&path, changes, route);
                }
            }
            if route.answers_itself() && route.request_headers.is_some() {
                let help = "nothing is forwarded: remove it";
                self.no_effect(
                    "`request_headers` does nothing where a route answers by itself",
                    &route_path(index, "request_headers"),
                    help,
                );
            }
        }
    }

    fn editable(&mut self, path: &[Step], changes: &FieldChanges, of_request: bool) {
        let mut names: Vec<(Vec<Step>, String)> = Vec::new();
        let tables = [("set", &changes.set), ("add", &changes.add)];
        for (key, table) in tables {
            let at = below(path, key);
            names.extend(table.0.iter().map(|(name, _)| (below(&at, name), name.clone())));
        }
        let rename = below(path, "rename");
        for (from, to) in &changes.rename.0 {
            names.push((below(&rename, from), from.clone()));
            names.push((below(&rename, from), to.0.to_string()));
        }
        for (index, name) in changes.remove.iter().enumerate() {
            let mut at = below(path, "remove");
            at.push(index.into());
            names.push((at, name.0.to_string()));
        }
        for (at, name) in names {
            let parsed = HeaderName::from_bytes(name.as_bytes());
            if parsed.is_ok_and(|parsed| !may_edit(&parsed, of_request)) {
                let help = match name.to_ascii_lowercase().as_str() {
                    "host" => "what `Host` an upstream gets, its own key `host` says",
                    "forwarded" | "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host"
                    | "x-request-id" => {
                        "it is made here; `trusted_proxies` says whose word in it is believed"
                    }
                    _ => {
                        "it says how the message is framed, is for one connection, or is made here: leave it out"
                    }
                };
                let message = format!("`{name}` is not for a config to change");
                self.found(Code::ReservedField, message, &at).help = Some(help.into());
            }
        }
    }

    fn known_variables(&mut self, path: &[Step], changes: &FieldChanges, of_request: bool) {
        for (key, table) in [("set", &changes.set), ("add", &changes.add)] {
            for (name, value) in &table.0 {
                let unknown = value.0.variables().find(|variable| {
                    let (request, reply) = (variable.is_of_requests(), variable.is_of_replies());
                    if of_request { !request } else { !reply }
                });
                let Some(unknown) = unknown else { continue };
                let of = if of_request { "a request" } else { "a reply" };
                let message = format!("`{{{unknown}}}` is not known of {of}");
                let help = match unknown {
                    Variable::Header(name) => format!("of a reply's own fields write `{{reply.{name}}}`"),
                    Variable::Reply(name) => format!("of a request's own fields write `{{header.{name}}}`"),
                    _ => "it is known of the other kind of message".to_owned(),
                };
                let at = below(&below(path, key), name);
                self.found(Code::BadTemplate, message, &at).help = Some(help);
            }
        }
    }

    /// What differs between clients and is forwarded must be in the key, or in `Vary` (RFC 9111 4.1).
    fn keyed(&mut self, path: &[Step], changes: &FieldChanges, route: &Route) {
        if matches!(route.mode, Some(Mode::Off)) || matches!(route.cache, Some(Cache::Switch(false))) {
            return;
        }
        let policy = route_policy(self.file, route).map(|(_, policy)| policy).unwrap_or_default();
        let in_key = |name: &HeaderName| policy.key.headers.iter().any(|own| own.0 == *name);
        for (key, table) in [("set", &changes.set), ("add", &changes.add)] {
            for (name, value) in &table.0 {
                let Ok(field) = HeaderName::from_bytes(name.as_bytes()) else { continue };
                let differs = value.0.variables().find(|variable| match variable {
                    Variable::Client | Variable::User | Variable::RequestId => true,
                    Variable::Header(own) => !in_key(own),
                    _ => false,
                });
                let (Some(differs), false) = (differs, in_key(&field)) else { continue };
                let message = format!(
                    "`{name}` differs by `{{{differs}}}`, and stored replies are not kept apart by it"
                );
                let help = "if replies depend on it, name it in the policy (`key = { headers = [...] }`), or have the origin \
                            send it in `Vary`; else turn caching off";
                let at = below(&below(path, key), name);
                self.found(Code::UnkeyedInput, message, &at).help = Some(help.into());
            }
        }
    }
}

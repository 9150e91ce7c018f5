//! Replies that routes give by themselves: what contradicts itself in them, or does nothing.

use http::HeaderName;

use super::{Checks, below, route_path};
use crate::config::answers::is_reserved;
use crate::config::codes::Code;
use crate::config::file::{Maintenance, Redirect, Respond, Route};
use crate::config::tree::Step;

/// What means nothing to a route that asks no origin.
const OF_ORIGINS: [&str; 6] =
    ["cache", "mode", "timeout", "request_idle_timeout", "max_request_body", "maintenance"];

impl Checks<'_> {
    pub(super) fn answers(&mut self) {
        for (index, route) in self.file.routes.iter().enumerate() {
            self.one_answer(index, route);
            if let Some(respond) = &route.respond {
                self.respond(&route_path(index, "respond"), respond);
            }
            if let Some(Redirect::Table(table)) = &route.redirect
                && table.status.is_some_and(|status| (304..=306).contains(&status))
            {
                let path = below(&route_path(index, "redirect"), "status");
                let found = self.found(Code::OutOfRange, "this status is no redirect's", &path);
                found.help = Some("a redirect has 301, 302, 303, 307 or 308".into());
            }
            if let Some(Maintenance::Table(table)) = &route.maintenance {
                let path = route_path(index, "maintenance");
                self.one_body(&path, table.body.is_some(), table.file.is_some(), table.media_type.is_some());
            }
        }
    }

    /// A route answers in one way.
    fn one_answer(&mut self, index: usize, route: &Route) {
        let own = match (&route.respond, &route.redirect) {
            (None, None) => return,
            (Some(_), Some(_)) => {
                let other = self.place(&route_path(index, "respond"));
                let message = "a route has both `respond` and `redirect`";
                let found = self.found(Code::ExclusiveKeys, message, &route_path(index, "redirect"));
                *found = found.clone().related(other, "the one").help("make two routes");
                return;
            }
            (Some(_), None) => "respond",
            (None, Some(_)) => "redirect",
        };
        if route.upstream.is_some() {
            let other = self.place(&route_path(index, own));
            let message = format!("a route has both `upstream` and `{own}`");
            let found = self.found(Code::ExclusiveKeys, message, &route_path(index, "upstream"));
            let help = format!("with `{own}` no upstream is asked: remove one of the two");
            *found = found.clone().related(other, "the other").help(help);
        }
        for key in OF_ORIGINS {
            let path = route_path(index, key);
            if self.written(&path) {
                self.no_effect(
                    &format!("`{key}` does nothing beside `{own}`"),
                    &path,
                    "no upstream is asked and nothing is stored: remove it",
                );
            }
        }
    }

    fn respond(&mut self, path: &[Step], respond: &Respond) {
        let (body, file) = (respond.body.is_some(), respond.file.is_some());
        self.one_body(path, body, file, respond.media_type.is_some());
        if matches!(respond.status, Some(204 | 205 | 304)) && (body || file) {
            let key = if body { "body" } else { "file" };
            let help = "a reply with this status has no body (RFC 9110 15): choose another status";
            let message = format!("`{key}` contradicts the status {}", respond.status.unwrap_or_default());
            self.found(Code::ExclusiveKeys, message, &below(path, key)).help = Some(help.into());
        }
        let reserved = |(name, _): &&(String, _)| {
            HeaderName::from_bytes(name.as_bytes()).is_ok_and(|name| is_reserved(&name))
        };
        for (name, _) in respond.headers.0.iter().filter(reserved) {
            let path = below(&below(path, "headers"), name);
            let message = format!("`{name}` is not for a config to say");
            let found = self.found(Code::ReservedField, message, &path);
            found.help =
                Some("it says how the message is framed, or is for one connection: remove it".into());
        }
    }

    fn one_body(&mut self, path: &[Step], body: bool, file: bool, typed: bool) {
        if body && file {
            let other = self.place(&below(path, "body"));
            let message = "a reply has both `body` and `file`";
            let found = self.found(Code::ExclusiveKeys, message, &below(path, "file"));
            *found = found.clone().related(other, "the one").help("remove one of the two");
        }
        if typed && !body && !file {
            let help = "add `body` or `file`";
            self.no_effect("`type` does nothing without a body", &below(path, "type"), help);
        }
    }
}

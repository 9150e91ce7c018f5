//! Settings that do nothing, or more than was probably meant.

use super::{Checks, below, route_path};
use crate::config::codes::Code;
use crate::config::file::{AccessLog, Cache, Mode, OneOrMany, Policy};
use crate::config::scalar::Time;
use crate::config::tree::Step;

/// Smaller slices are all heads and no bodies.
const MIN_SLICE: u64 = 64 << 10;
const MAX_SLICE: u64 = 1 << 30;

impl Checks<'_> {
    pub(super) fn effects(&mut self) {
        self.trust();
        self.log_without_file();
        self.store_of_nothing();
        self.unused_caching();
        self.nothing_allowed();
        let found: Vec<_> =
            self.policies().into_iter().map(|(path, policy)| (path, policy.clone())).collect();
        for (path, policy) in found {
            self.policy(&path, &policy);
            self.lifetimes(&path, &policy);
        }
    }

    pub(super) fn no_effect(&mut self, message: &str, path: &[Step], help: &str) {
        let found = self.found(Code::NoEffect, message, path);
        found.help = Some(help.to_owned());
    }

    fn trust(&mut self) {
        for (index, network) in self.file.trusted_proxies.iter().enumerate() {
            if network.0.prefix_len() == 0 {
                let message = "every client is trusted to say who it is";
                let found =
                    self.found(Code::TrustsEveryone, message, &["trusted_proxies".into(), index.into()]);
                found.help = Some("name the networks that your load balancers are in".into());
            }
        }
    }

    fn log_without_file(&mut self) {
        let Some(AccessLog::Table(table)) = &self.file.telemetry.access_log else { return };
        if table.path.is_some() {
            return;
        }
        let log = [Step::from("telemetry"), "access_log".into()];
        for key in ["max_size", "max_age", "keep"] {
            let path = below(&log, key);
            if self.written(&path) {
                self.no_effect(
                    &format!("`{key}` does nothing without `path`"),
                    &path,
                    "standard error is not rotated",
                );
            }
        }
    }

    fn store_of_nothing(&mut self) {
        let nothing = |size: Option<crate::config::scalar::Size>| size.is_some_and(|size| size.0 == 0);
        if nothing(self.file.store.memory) && nothing(self.file.store.disk) {
            let help = "to turn caching off write `cache = false`";
            self.no_effect(
                "nothing can be stored, neither in memory nor on disk",
                &["store".into(), "memory".into()],
                help,
            );
        }
    }

    /// A route that serves no method, or no scheme.
    fn nothing_allowed(&mut self) {
        for (index, route) in self.file.routes.iter().enumerate() {
            let methods = route.allow_methods.as_ref().is_some_and(Vec::is_empty);
            let schemes = matches!(&route.allow_schemes, Some(OneOrMany::Many(many)) if many.is_empty());
            for (key, empty) in [("allow_methods", methods), ("allow_schemes", schemes)] {
                let path = route_path(index, key);
                // What was not understood in it has been told already.
                if empty && !self.damaged(&path) {
                    let message = format!("an empty `{key}` would refuse every request");
                    let found = self.found(Code::Empty, message, &path);
                    found.help = Some("leave it out to allow all".into());
                }
            }
        }
    }

    fn unused_caching(&mut self) {
        for (index, route) in self.file.routes.iter().enumerate() {
            let off = matches!(route.mode, Some(Mode::Off));
            let said = matches!(route.cache, Some(Cache::Text(_) | Cache::Inline(_) | Cache::Switch(true)));
            let own = |path: &[Step]| {
                let key = self.root.at(path).and_then(|node| node.key.as_ref());
                // A copy of the top level's `cache` is not this route's own word.
                key.is_some() && key != self.root.get("cache").and_then(|node| node.key.as_ref())
            };
            if off && said && own(&route_path(index, "cache")) {
                let message = "`cache` does nothing while the route's mode is \"off\"";
                self.no_effect(message, &route_path(index, "cache"), "remove one of the two");
            }
        }
    }

    /// Tells of a time that HTTP can't count with.
    pub(super) fn whole_seconds(&mut self, key: &str, path: &[Step], value: Option<Time>) {
        if value.is_some_and(|Time(time)| time.subsec_millis() != 0) {
            let message = format!("`{key}` counts in whole seconds: what is beyond them is dropped");
            self.no_effect(&message, path, "HTTP's ages and lifetimes have no fractions");
        }
    }

    fn policy(&mut self, path: &[Step], policy: &Policy) {
        for (key, value) in [
            ("stale_while_revalidate", policy.stale_while_revalidate),
            ("stale_if_error", policy.stale_if_error),
        ] {
            self.whole_seconds(key, &below(path, key), value);
        }
        let given = policy.ttl.is_some() || policy.override_ttl.is_some() || policy.min_ttl.is_some();
        let lifetime = given || policy.heuristics != Some(false);
        for (key, value) in [("cookies", policy.cookies), ("cache_errors", policy.cache_errors)] {
            let covered = if key == "cookies" { lifetime } else { given };
            if value == Some(true) && !covered {
                let message = format!("`{key}` does nothing without `ttl`");
                self.no_effect(&message, &below(path, key), "add a `ttl`");
            }
        }
        let keyed = policy.key.headers.iter().any(|name| name.0 == http::header::COOKIE)
            || !policy.key.cookies.is_empty()
            || policy.key.user.is_some();
        if policy.cookies == Some(true) && given && !keyed {
            let message = "replies to requests with cookies are shared between all clients";
            let found = self.found(Code::SharedCookies, message, &below(path, "cookies"));
            found.help = Some(
                "make sure that they do not depend on who asks, or name in `key.cookies` what they depend on"
                    .into(),
            );
        }
        if policy.slice.is_some_and(|size| !(MIN_SLICE..=MAX_SLICE).contains(&size.0)) {
            let message = "`slice` is from 64KiB to 1GiB";
            let found = self.found(Code::OutOfRange, message, &below(path, "slice"));
            found.help = Some(
                "\"1MiB\" suits most: less asks the origin often, more fetches what nobody asked for".into(),
            );
        }
        let limit = self.file.store.max_body.map(|size| size.0);
        if let (Some(own), Some(limit)) = (policy.max_body, limit)
            && own.0 > limit
        {
            let message = "`max_body` is above the store's own limit";
            self.no_effect(message, &below(path, "max_body"), "raise `store.max_body` too");
        }
        let store = crate::cache::Settings::default();
        let limits = [
            ("memory", policy.max_memory, self.file.store.memory.map_or(store.memory, |size| size.0)),
            ("disk", policy.max_disk, self.file.store.disk.map_or(store.disk, |size| size.0)),
        ];
        for (tier, own, limit) in limits {
            if own.is_some_and(|own| own.0 > limit) {
                let message = format!("`max_{tier}` is more than the whole store holds");
                let help = format!("raise `store.{tier}` too, or leave it out");
                self.no_effect(&message, &below(path, &format!("max_{tier}")), &help);
            }
        }
    }
}

//! Keys that contradict themselves, or let one client choose what others get.

use super::{Checks, below, route_path};
use crate::config::codes::Code;
use crate::config::compile::route_name;
use crate::config::file::{Cache, File, Key, Policy, Route, User};
use crate::config::finding::Finding;
use crate::config::scalar::CacheText;
use crate::config::tree::Step;
use crate::upstream::settings::HostPolicy;

impl Checks<'_> {
    pub(super) fn keys(&mut self) {
        let policies: Vec<_> = self
            .policies()
            .into_iter()
            .map(|(path, policy)| (below(&path, "key"), policy.key.clone()))
            .collect();
        for (path, key) in &policies {
            self.query(path, key);
            self.content(path, key);
            self.user(path, key);
        }
        let file = self.file;
        for (index, route) in file.routes.iter().enumerate() {
            if let Some((path, policy)) = policy_of(file, index, route) {
                self.shared_host(&below(&path, "key"), index, route, policy);
                self.every_post(&below(&path, "key"), index, route, policy);
            }
        }
    }

    fn query(&mut self, path: &[Step], key: &Key) {
        if key.query.is_none() || key.ignore_query.is_empty() {
            return;
        }
        let other = self.place(&below(path, "query"));
        let place = self.place(&below(path, "ignore_query"));
        let message = "a key has both `query` and `ignore_query`";
        let finding = Finding::new(Code::ExclusiveKeys, message).at(place).related(other, "the one");
        self.push(finding.help("keep `query`: what it does not name makes no difference anyway"));
    }

    fn content(&mut self, path: &[Step], key: &Key) {
        if key.body != Some(true) && self.written(&below(path, "max_body")) {
            let message = "`max_body` of a key does nothing without `body = true`";
            self.no_effect(message, &below(path, "max_body"), "add `body = true`");
        }
    }

    fn user(&mut self, path: &[Step], key: &Key) {
        let Some(user) = &key.user else { return };
        let path = below(path, "user");
        let given = [user.header.is_some(), user.cookie.is_some(), user.claim.is_some()];
        match given.iter().filter(|given| **given).count() {
            0 if self.damaged(&path) => {}
            0 => {
                let help = "write one of `header`, `cookie` and `claim`";
                self.found(Code::MissingKey, "it is not said what tells users apart", &path).help =
                    Some(help.into());
            }
            1 => {
                self.trusted_header(&path, user);
                self.verified(&path, user);
            }
            _ => {
                let help = "keep the one that the origin goes by";
                let message = "users are told apart by more than one thing";
                self.found(Code::ExclusiveKeys, message, &path).help = Some(help.into());
            }
        }
    }

    fn trusted_header(&mut self, path: &[Step], user: &User) {
        let named = user.header.as_ref().is_some_and(|name| name.0 != http::header::AUTHORIZATION);
        if named && self.file.trusted_proxies.is_empty() {
            let message =
                "nobody is trusted to name users: requests with this field are passed on and not stored";
            let help = "put the network of the gateway that sets it into `trusted_proxies`";
            self.no_effect(message, &below(path, "header"), help);
        }
    }

    /// A route for everything hardly has nothing but queries.
    fn every_post(&mut self, path: &[Step], index: usize, route: &Route, policy: &Policy) {
        if policy.key.body != Some(true) || route.matching.path.is_some() {
            return;
        }
        let name = route_name(index, route);
        let message = format!(
            "every POST of route `{name}` is answered from the cache and ends nothing that is stored"
        );
        let found = self.found(Code::EveryPost, message, &below(path, "body"));
        found.help = Some("give the paths of the queries to a route of their own".into());
    }

    /// What is left out of the key still reaches the origin, which may make something of it.
    fn shared_host(&mut self, path: &[Step], index: usize, route: &Route, policy: &Policy) {
        let upstream = route.upstream.as_ref().map_or("", |target| &target.0);
        let client = self.file.upstreams.0.iter().any(|(name, upstream_table)| {
            *name == upstream && upstream_table.host.as_ref().is_some_and(|host| host.0 == HostPolicy::Client)
        });
        if policy.key.host != Some(false) || !client {
            return;
        }
        let name = route_name(index, route);
        let message = format!(
            "`host = false` lets one host's replies answer for another, but upstream `{upstream}` of route `{name}` is \
             told which host was asked"
        );
        let path = below(path, "host");
        let found = self.found(Code::UnkeyedInput, message, &path);
        found.help =
            Some("leave out `host = \"client\"` of the upstream, so that no host can change a reply".into());
    }
}

/// The policy of a route, and where it is written.
fn policy_of<'f>(file: &'f File, index: usize, route: &'f Route) -> Option<(Vec<Step>, &'f Policy)> {
    match &route.cache {
        Some(Cache::Inline(policy)) => Some((route_path(index, "cache"), policy)),
        Some(Cache::Text(CacheText::Policy(name))) => {
            let (name, policy) = file.policies.0.iter().find(|(known, _)| known == name)?;
            Some((vec!["policies".into(), name.as_str().into()], policy))
        }
        _ => None,
    }
}

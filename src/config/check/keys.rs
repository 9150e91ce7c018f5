//! Keys that contradict themselves, or let one client choose what others get.

use super::{Checks, below, route_path};
use crate::config::codes::Code;
use crate::config::compile::route_name;
use crate::config::file::{Cache, File, Key, Policy, Route};
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
        }
        let file = self.file;
        for (index, route) in file.routes.iter().enumerate() {
            if let Some((path, policy)) = policy_of(file, index, route) {
                self.shared_host(&below(&path, "key"), index, route, policy);
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

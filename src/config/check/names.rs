//! Names that lead nowhere, stand twice, or are never used; routes that can never match.

use std::collections::HashMap;

use super::{Checks, route_path};
use crate::config::codes::Code;
use crate::config::compile::{match_spec, route_name};
use crate::config::file::Cache;
use crate::config::finding::Finding;
use crate::config::scalar::CacheText;
use crate::config::suggest::did_you_mean;
use crate::route::Router;

impl Checks<'_> {
    pub(super) fn names(&mut self) {
        self.route_names();
        for index in 0..self.file.routes.len() {
            self.route_upstream(index);
            self.route_policy(index);
        }
        let lost = self.root.damaged || self.damaged(&["routes".into()]);
        if self.file.routes.is_empty() && !lost {
            let help = match self.file.upstreams.0.first() {
                Some((name, _)) => format!("add `upstream = \"{name}\"` at the top, or a `[[routes]]`"),
                None => "add `upstream = \"https://api.example.com\"`".to_owned(),
            };
            let finding =
                Finding::new(Code::NothingRouted, "nothing is routed: there is no `upstream` and no route");
            let place = self.place(&[]);
            self.push(finding.at(place).help(help));
        }
    }

    fn route_names(&mut self) {
        let mut first: HashMap<String, usize> = HashMap::new();
        for (index, route) in self.file.routes.iter().enumerate() {
            let name = route_name(index, route);
            let Some(earlier) = first.get(&name) else {
                first.insert(name, index);
                continue;
            };
            let other = self.root.place_of(&route_path(*earlier, "name"));
            let finding = Finding::new(Code::DuplicateRoute, format!("there are two routes `{name}`"))
                .at(self.root.place_of(&route_path(index, "name")))
                .related(other, "the first one")
                .help("logs and metrics tell routes apart by name: give one of them another");
            self.findings.push(finding);
        }
    }

    fn route_upstream(&mut self, index: usize) {
        let route = &self.file.routes[index];
        if route.answers_itself() {
            // The check of answers tells of both.
            return;
        }
        let Some(target) = &route.upstream else {
            if !self.damaged(&["routes".into(), index.into()]) && !self.root.damaged {
                let name = route_name(index, route);
                let help = "add `upstream = \"NAME\"` or `upstream = \"https://...\"` to it, or at the top of the file";
                let finding = Finding::new(Code::NoUpstream, format!("route `{name}` has no upstream"));
                let place = self.place(&["routes".into(), index.into()]);
                self.push(finding.at(place).help(help));
            }
            return;
        };
        let known: Vec<&str> = self.file.upstreams.0.iter().map(|(name, _)| name.as_str()).collect();
        let declared = self.declared.upstreams.iter().map(String::as_str);
        if known.iter().copied().chain(declared.clone()).any(|name| name == target.0) {
            return;
        }
        let help = did_you_mean(&target.0, declared).unwrap_or_else(|| {
            if target.0.contains(['.', ':']) || known.is_empty() {
                format!("write a URL: \"http://{}\"", target.0)
            } else {
                format!("the upstreams are {}", known.join(", "))
            }
        });
        let finding = Finding::new(Code::UnknownUpstream, format!("there is no upstream `{}`", target.0));
        let place = self.place(&route_path(index, "upstream"));
        self.push(finding.at(place).help(help));
    }

    fn route_policy(&mut self, index: usize) {
        let Some(Cache::Text(CacheText::Policy(name))) = &self.file.routes[index].cache else { return };
        let declared = &self.declared.policies;
        if declared.contains(name) {
            return;
        }
        let help = did_you_mean(name, declared.iter().map(String::as_str)).unwrap_or_else(|| {
            if name.starts_with(|first: char| first.is_ascii_digit()) {
                "a duration is made of whole numbers and units: \"250ms\", \"60s\", \"1h30m\", \"1d\""
                    .to_owned()
            } else if declared.is_empty() {
                format!("add a table `[policies.{name}]`, or write a duration such as \"60s\"")
            } else {
                format!("the policies are {}", declared.join(", "))
            }
        });
        let finding = Finding::new(Code::UnknownPolicy, format!("there is no policy `{name}`"));
        let place = self.place(&route_path(index, "cache"));
        self.push(finding.at(place).help(help));
    }

    pub(super) fn unused(&mut self) {
        for (name, _) in &self.file.upstreams.0 {
            let used = |target: &super::super::address::Target| target.0 == *name;
            if !self.file.routes.iter().any(|route| route.upstream.as_ref().is_some_and(used)) {
                let place = self.root.key_place(&["upstreams".into(), name.as_str().into()]);
                let message = format!("no route uses the upstream `{name}`");
                self.findings.push(Finding::new(Code::UnusedUpstream, message).at(place));
            }
        }
        for (name, _) in &self.file.policies.0 {
            let used = |cache: &Cache| matches!(cache, Cache::Text(CacheText::Policy(used)) if used == name);
            if !self.file.routes.iter().any(|route| route.cache.as_ref().is_some_and(used)) {
                let place = self.root.key_place(&["policies".into(), name.as_str().into()]);
                let message = format!("no route uses the policy `{name}`");
                self.findings.push(Finding::new(Code::UnusedPolicy, message).at(place));
            }
        }
    }

    pub(super) fn shadowed(&mut self) {
        let routes = self.file.routes.iter().enumerate();
        let specs =
            routes.map(|(index, route)| (route_name(index, route).into(), match_spec(&route.matching)));
        // Two routes of one name have been told of already.
        let Ok(router) = Router::build(specs.collect()) else { return };
        for (index, by) in router.shadowed() {
            let name = route_name(index, &self.file.routes[index]);
            let other = route_name(by, &self.file.routes[by]);
            let finding = Finding::new(Code::ShadowedRoute, format!("route `{name}` can never match"))
                .at(self.root.place_of(&route_path(index, "match")))
                .related(
                    self.root.place_of(&route_path(by, "match")),
                    format!("`{other}` takes all its requests"),
                )
                .help("make its match more specific, or remove it");
            self.findings.push(finding);
        }
    }
}

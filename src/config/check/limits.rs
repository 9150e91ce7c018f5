//! Rate limits: names that lead nowhere, limits that nobody reaches, and those that anybody gets round.

use super::{Checks, below, route_path};
use crate::config::codes::Code;
use crate::config::compile::{match_spec, route_name};
use crate::config::file::{Algorithm, FieldRule, RateLimit, Tier, Who};
use crate::config::limits::{self, Rate};
use crate::config::suggest::did_you_mean;
use crate::config::tree::Step;
use crate::pipeline::settings::LimitKey;

/// Beyond this a restart, which forgets all counts, is likely within a window.
const LONG_SECS: u64 = 86_400;

impl Checks<'_> {
    pub(super) fn limits(&mut self) {
        for index in 0..self.file.routes.len() {
            self.route_limits(index);
        }
        for (name, limit) in &self.file.rate_limits.0 {
            let path: Vec<Step> = vec!["rate_limits".into(), name.as_str().into()];
            self.bursts(&path, limit.algorithm, limit.rate, limit.burst);
            for (tier_name, tier) in &limit.tiers.0 {
                let path = [path.clone(), vec!["tiers".into(), tier_name.as_str().into()]].concat();
                self.tier(&path, limit, tier);
            }
            for (index, who) in limit.exempt.iter().enumerate() {
                self.exempt(&[path.clone(), vec!["exempt".into(), index.into()]].concat(), who);
            }
        }
    }

    fn route_limits(&mut self, index: usize) {
        let known: Vec<&str> = self.declared.rate_limits.iter().map(String::as_str).collect();
        let route = &self.file.routes[index];
        for (at, name) in route.rate_limits.iter().enumerate() {
            let path = [route_path(index, "rate_limits"), vec![at.into()]].concat();
            if !known.contains(&name.0.as_str()) {
                let help =
                    did_you_mean(&name.0, known.iter().copied()).unwrap_or_else(|| match known.is_empty() {
                        true => format!("add a table `[rate_limits.{}]` with a `rate`", name.0),
                        false => format!("the rate limits are {}", known.join(", ")),
                    });
                let message = format!("there is no rate limit `{}`", name.0);
                self.found(Code::UnknownRateLimit, message, &path).help = Some(help);
                continue;
            }
            let mut before = route.rate_limits.iter().take(at);
            let found = self.file.rate_limits.0.iter().find(|(known, _)| *known == name.0);
            if before.any(|earlier| earlier.0 == name.0) {
                self.no_effect(&format!("`{}` is named already", name.0), &path, "remove it");
            } else if found.is_some_and(|(_, limit)| limit.every_route == Some(true)) {
                let message = format!("`{}` holds for every route anyway", name.0);
                self.no_effect(&message, &path, "remove it, or its `every_route`");
            }
        }
        self.captures(index);
    }

    /// A key with a part of the path that the route's path has not.
    fn captures(&mut self, index: usize) {
        let route = &self.file.routes[index];
        let paths = match_spec(&route.matching).paths;
        for name in limits::of_route(self.file, route) {
            let Some((_, limit)) = self.file.rate_limits.0.iter().find(|(known, _)| *known == *name) else {
                continue;
            };
            for part in limits::key(limit) {
                let LimitKey::Path(wanted) = part else { continue };
                if paths.iter().any(|path| path.has_capture(&wanted)) {
                    continue;
                }
                let message = format!(
                    "the path of route `{}` has no `{{{wanted}}}`: `{name}` counts its requests by client",
                    route_name(index, route)
                );
                let path = ["rate_limits".into(), (*name).into(), "key".into()];
                let help = format!("write it in the route's path: \"/users/{{{wanted}}}/*rest\"");
                self.found(Code::LimitKeyAbsent, message, &path).help = Some(help.replace("*rest", "posts"));
            }
        }
    }

    fn bursts(&mut self, path: &[Step], algorithm: Option<Algorithm>, rate: Rate, burst: Option<u32>) {
        if burst.is_some() && !matches!(algorithm, None | Some(Algorithm::Gcra)) {
            let help = "a window lets all of its requests come at once";
            self.no_effect("`burst` is for the algorithm \"gcra\" only", &below(path, "burst"), help);
        }
        if rate.window.as_secs() > LONG_SECS {
            let message = "counts are kept in memory: a restart within the window lets everyone begin anew";
            let found = self.found(Code::LongWindow, message, &below(path, "rate"));
            found.help =
                Some("take a window of a day at most, or leave long quotas to the application".into());
        }
    }

    fn tier(&mut self, path: &[Step], limit: &RateLimit, tier: &Tier) {
        self.bursts(path, limit.algorithm, tier.rate, tier.burst);
        if takes_everyone(&tier.who()) {
            let message = "this tier takes everyone: the limit's own `rate` and later tiers do nothing";
            self.no_effect(message, path, "say whom it takes in `clients` or `headers`");
        }
    }

    fn exempt(&mut self, path: &[Step], who: &Who) {
        if takes_everyone(who) {
            let help =
                "say who is exempt in `clients` or `headers`; to only try a limit write `dry_run = true`";
            self.found(Code::ExemptsEveryone, "everyone is exempt: nothing is limited", path).help =
                Some(help.into());
            return;
        }
        let guessable = |rule: &FieldRule| matches!(rule, FieldRule::Presence(_));
        if who.clients.is_empty() && who.headers.0.iter().all(|(_, rule)| guessable(rule)) {
            let help = "give a value that only they know, or name their networks in `clients` too";
            let message = "any client can exempt itself by what it sends";
            self.found(Code::ExemptsEveryone, message, &below(path, "headers")).help = Some(help.into());
        }
    }

    pub(super) fn unused_limits(&mut self) {
        for (name, limit) in &self.file.rate_limits.0 {
            let used = limit.every_route == Some(true)
                || self.file.routes.iter().any(|route| route.rate_limits.iter().any(|used| used.0 == *name));
            if !used {
                let place = self.root.key_place(&["rate_limits".into(), name.as_str().into()]);
                let message = format!("no route uses the rate limit `{name}`");
                let finding = crate::config::finding::Finding::new(Code::UnusedRateLimit, message).at(place);
                self.findings.push(finding.help(format!(
                    "write `rate_limits = [\"{name}\"]` in a route, or `every_route = true` here"
                )));
            }
        }
    }
}

fn takes_everyone(who: &Who) -> bool {
    let all = |network: &crate::config::scalar::Network| network.0.prefix_len() == 0;
    (who.clients.is_empty() || who.clients.iter().any(all)) && who.headers.0.is_empty()
}

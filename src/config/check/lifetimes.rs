//! Lifetimes of a policy that contradict each other, or do nothing.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::StatusCode;

use super::{Checks, below};
use crate::cache::policy::ByStatus;
use crate::config::codes::Code;
use crate::config::file::{Lifetime, Policy};
use crate::config::finding::Finding;
use crate::config::lifetime::{Ahead, Share, by_status};
use crate::config::scalar::{Time, time_text};
use crate::config::tree::Step;

/// More than this would make lifetimes a lottery.
const MOST_JITTER: u8 = 50;

impl Checks<'_> {
    pub(super) fn lifetimes(&mut self, path: &[Step], policy: &Policy) {
        let tables = [
            ("ttl", &policy.ttl),
            ("override_ttl", &policy.override_ttl),
            ("min_ttl", &policy.min_ttl),
            ("max_ttl", &policy.max_ttl),
        ];
        for (key, lifetime) in tables {
            let Some(lifetime) = lifetime else { continue };
            self.fractions(key, path, lifetime);
            self.ambiguous(key, path, lifetime);
        }
        for (low, lower, high, higher) in [
            ("min_ttl", &policy.min_ttl, "max_ttl", &policy.max_ttl),
            ("override_ttl", &policy.override_ttl, "max_ttl", &policy.max_ttl),
            ("min_ttl", &policy.min_ttl, "override_ttl", &policy.override_ttl),
        ] {
            if let (Some(lower), Some(higher)) = (lower, higher) {
                self.reversed(path, (low, &by_status(Some(lower))), (high, &by_status(Some(higher))));
            }
        }
        self.jitter(path, policy);
        self.prefetch(path, policy);
    }

    fn fractions(&mut self, key: &str, path: &[Step], lifetime: &Lifetime) {
        match lifetime {
            Lifetime::Same(time) => self.whole_seconds(key, &below(path, key), Some(*time)),
            Lifetime::ByStatus(table) => {
                for (status, time) in &table.0 {
                    self.whole_seconds(key, &below(&below(path, key), status), Some(*time));
                }
            }
        }
    }

    /// Of two ranges the narrower one holds; two that merely overlap leave it open which.
    fn ambiguous(&mut self, key: &str, path: &[Step], lifetime: &Lifetime) {
        let named = lifetime.named();
        for (index, (one, _)) in named.iter().enumerate() {
            let other = named[..index].iter().find(|(other, _)| overlap(one, other));
            if let Some((other, _)) = other {
                let (one, other) = (range_text(one), range_text(other));
                let message =
                    format!("`{one}` and `{other}` of `{key}` overlap, and neither lies within the other");
                let found = self.found(Code::Lifetimes, message, &below(path, key));
                found.help = Some("divide them, so that every status has one lifetime".into());
            }
        }
    }

    fn reversed(
        &mut self,
        path: &[Step],
        (low, lower): (&str, &ByStatus),
        (high, higher): (&str, &ByStatus),
    ) {
        let at = |status: u16| {
            let status = StatusCode::from_u16(status).ok()?;
            let (lower, higher) = (lower.of(status)?.seconds, higher.of(status)?.seconds);
            (lower > higher).then_some((status, lower, higher))
        };
        let Some((status, lower, higher)) = (200..600).find_map(at) else { return };
        let text = |seconds| time_text(Duration::from_secs(seconds));
        let message = format!(
            "for status {} `{low}` ({}) is above `{high}` ({})",
            status.as_u16(),
            text(lower),
            text(higher)
        );
        let (place, other) = (self.place(&below(path, low)), self.place(&below(path, high)));
        self.push(
            Finding::new(Code::Lifetimes, message)
                .at(place)
                .related(other, "the other bound")
                .help(format!("make `{low}` at most as long as `{high}`")),
        );
    }

    fn jitter(&mut self, path: &[Step], policy: &Policy) {
        let Some(Share(percent)) = policy.jitter else { return };
        let path = below(path, "jitter");
        if percent == 0 {
            self.no_effect("`jitter` of 0% does nothing", &path, "leave it out");
        } else if percent > MOST_JITTER {
            let message = format!("a `jitter` of {percent}% makes lifetimes a lottery");
            let found = self.found(Code::OutOfRange, message, &path);
            found.help = Some(format!("write at most \"{MOST_JITTER}%\""));
        }
    }

    fn prefetch(&mut self, path: &[Step], policy: &Policy) {
        let key = below(path, "prefetch");
        match policy.prefetch {
            None if policy.prefetch_hits.is_some() && self.written(&below(path, "prefetch_hits")) => {
                let message = "`prefetch_hits` does nothing without `prefetch`";
                self.no_effect(message, &below(path, "prefetch_hits"), "add `prefetch = \"10%\"`");
            }
            Some(Ahead::Share(0)) => self.no_effect("`prefetch` of 0% does nothing", &key, "leave it out"),
            Some(Ahead::Time(time)) if time.as_secs() == 0 => {
                self.no_effect(
                    "`prefetch` of less than a second does nothing",
                    &key,
                    "write at least \"1s\"",
                );
            }
            Some(Ahead::Share(100)) => self.always(&key, "all of it"),
            Some(Ahead::Time(time)) => {
                let ttl = policy.override_ttl.as_ref().or(policy.ttl.as_ref());
                if let Some(Lifetime::Same(Time(ttl))) = ttl
                    && time >= *ttl
                {
                    self.always(&key, &time_text(*ttl));
                }
            }
            _ => {}
        }
    }

    fn always(&mut self, path: &[Step], life: &str) {
        let message = format!("`prefetch` begins as soon as a reply is stored: its life is {life}");
        let found = self.found(Code::PrefetchAlways, message, path);
        found.help = Some("choose the last part of a lifetime, such as \"10%\"".into());
    }
}

fn overlap(one: &RangeInclusive<u16>, other: &RangeInclusive<u16>) -> bool {
    let within = |inner: &RangeInclusive<u16>, outer: &RangeInclusive<u16>| {
        outer.contains(inner.start()) && outer.contains(inner.end())
    };
    one.start() <= other.end()
        && other.start() <= one.end()
        && (one == other || !(within(one, other) || within(other, one)))
}

fn range_text(range: &RangeInclusive<u16>) -> String {
    match range.start() == range.end() {
        true => range.start().to_string(),
        false => format!("{}-{}", range.start(), range.end()),
    }
}

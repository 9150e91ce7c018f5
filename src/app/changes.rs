//! What a reload changes, in sentences.

use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::config::Compiled;

/// What differs between two configs, one sentence each; empty where nothing does.
pub(super) fn changes(before: &Compiled, after: &Compiled) -> Vec<String> {
    let mut found = Vec::new();
    named(
        &mut found,
        "listener",
        before.listeners.iter().map(|listener| (listener.address.to_string(), text(listener))),
        after.listeners.iter().map(|listener| (listener.address.to_string(), text(listener))),
    );
    named(
        &mut found,
        "tls",
        before.tls.iter().map(|tls| (tls.name.to_string(), text(tls))),
        after.tls.iter().map(|tls| (tls.name.to_string(), text(tls))),
    );
    named(
        &mut found,
        "upstream",
        before.upstreams.iter().map(|upstream| (upstream.name.to_string(), text(upstream))),
        after.upstreams.iter().map(|upstream| (upstream.name.to_string(), text(upstream))),
    );
    named(
        &mut found,
        "route",
        before.pipeline.routes.iter().map(|route| (route.name.to_string(), text(route))),
        after.pipeline.routes.iter().map(|route| (route.name.to_string(), text(route))),
    );
    named(
        &mut found,
        "rate limit",
        before.pipeline.limits.iter().map(|limit| (limit.limiter.name.to_string(), text(limit))),
        after.pipeline.limits.iter().map(|limit| (limit.limiter.name.to_string(), text(limit))),
    );
    let order = |config: &Compiled| -> Vec<_> {
        config.pipeline.routes.iter().map(|route| route.name.clone()).collect()
    };
    let (old_order, new_order) = (order(before), order(after));
    if old_order != new_order && old_order.len() == new_order.len() && found.is_empty() {
        found.push("the order of the routes changed".to_owned());
    }
    for (what, changed) in [
        ("the trusted proxies changed", before.pipeline.trusted != after.pipeline.trusted),
        (
            "the fields that tell of clients' certificates changed",
            before.pipeline.identity != after.pipeline.identity,
        ),
        ("the proxy's name changed", before.pipeline.name != after.pipeline.name),
        ("the mode over all routes changed", before.pipeline.mode != after.pipeline.mode),
        ("the limits of client connections changed", before.server != after.server),
        ("the limits of the store changed", before.cache != after.cache),
        ("logs or metrics changed", before.telemetry != after.telemetry),
        ("the number of workers changed: that takes a restart", before.workers != after.workers),
    ] {
        if changed {
            found.push(what.to_owned());
        }
    }
    found
}

/// What came, went and changed among things with names. Settings that hold expressions cannot be compared; their
/// texts can.
fn named(
    found: &mut Vec<String>,
    kind: &str,
    before: impl Iterator<Item = (String, String)>,
    after: impl Iterator<Item = (String, String)>,
) {
    let mut before: BTreeMap<_, _> = before.collect();
    for (name, text) in after {
        match before.remove(&name) {
            None => found.push(format!("{kind} `{name}` is new")),
            Some(old) if old != text => found.push(format!("{kind} `{name}` changed")),
            Some(_) => {}
        }
    }
    found.extend(before.into_keys().map(|name| format!("{kind} `{name}` is gone")));
}

fn text(settings: &impl Debug) -> String {
    format!("{settings:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, Source, load};

    fn config(text: &str) -> Compiled {
        let source = Source::Text { name: "test.toml".into(), text: text.into() };
        load(&source, None, &Overrides::default()).compiled.expect("a good config")
    }

    #[test]
    fn says_what_came_went_and_changed() {
        let before = config(
            "[upstreams.a]\nurl = 'http://127.0.0.1:1'\n[[routes]]\nname = 'x'\nupstream = 'a'\n\
             [[routes]]\nname = 'y'\nmatch = { path = '/y' }\nupstream = 'a'\n",
        );
        assert_eq!(changes(&before, &before), Vec::<String>::new());
        let after = config(
            "workers = 3\n[upstreams.a]\nurl = 'http://127.0.0.1:2'\n[[routes]]\nname = 'x'\nupstream = 'a'\n\
             cache = '5s'\n[[routes]]\nname = 'z'\nmatch = { path = '/z' }\nupstream = 'a'\n",
        );
        assert_eq!(
            changes(&before, &after),
            [
                "upstream `a` changed",
                "route `x` changed",
                "route `z` is new",
                "route `y` is gone",
                "the number of workers changed: that takes a restart",
            ]
        );
    }
}

//! Rewords heads so that the other policy hears what is meant.

use super::super::tests::http_date;
use super::Heads;
use super::classes::Class;
use super::grammar::{AGES, DATES, MEMBERS, TARGETED};

/// Heads on their way from one language into the other.
pub(super) struct Words {
    pub(super) heads: Heads,
    pub(super) control: Vec<(String, Option<String>)>,
    kept: Option<Class>,
}

impl Words {
    pub(super) fn of(heads: &Heads, kept: Option<Class>) -> Self {
        let heard = heads.members.iter().map(|member| {
            let (said, meant, class) = MEMBERS.iter().find(|(said, ..)| said == member).unwrap();
            if class.is_some() && *class == kept { *said } else { *meant }
        });
        let control = heard.flat_map(pairs).collect();
        Self { heads: heads.clone(), control, kept }
    }

    fn is(&self, class: Class) -> bool {
        self.kept != Some(class)
    }

    pub(super) fn reword(&mut self) {
        self.targeted();
        self.expires();
        self.dates();
        self.ages();
        self.directives();
        self.pragma();
        self.guesses();
        self.cookies();
        self.status();
        self.second();
    }

    fn has(&self, name: &str) -> bool {
        self.control.iter().any(|(known, _)| known == name)
    }

    fn drop(&mut self, name: &str) {
        self.control.retain(|(known, _)| known != name);
    }

    fn add(&mut self, name: &str) {
        if !self.has(name) {
            self.control.push((name.to_owned(), None));
        }
    }

    fn said(&self, name: &str) -> Option<&str> {
        self.heads.said.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    fn say(&mut self, name: &'static str, value: String) {
        self.unsay(name);
        self.heads.said.push((name, value));
    }

    fn unsay(&mut self, name: &str) {
        self.heads.said.retain(|(known, _)| *known != name);
    }

    fn explicit(&self) -> bool {
        self.has("max-age") || self.has("s-maxage") || self.heads.has("expires")
    }

    fn targeted(&mut self) {
        let Some(field) =
            self.said("cdn-cache-control").map(str::to_owned).filter(|_| self.is(Class::Targeted))
        else {
            return;
        };
        let meant = TARGETED.iter().find(|(said, _)| *said == field).and_then(|(_, meant)| *meant);
        let Some(meant) = meant else { return };
        if self.explicit() {
            // What is hidden is there all the same, and forbids a guess.
            self.unsay("last-modified");
        }
        self.unsay("expires");
        self.control = pairs(meant).collect();
    }

    fn dates(&mut self) {
        if !self.is(Class::DateForms) {
            return;
        }
        for (name, value) in &mut self.heads.said {
            if let Some((_, meant)) = DATES.iter().find(|(said, _)| *name != "age" && said == value) {
                *value = meant.map_or_else(|| "0".to_owned(), http_date);
            }
        }
    }

    fn expires(&mut self) {
        let all: Vec<&String> =
            self.heads.said.iter().filter(|(name, _)| *name == "expires").map(|(_, value)| value).collect();
        let conflict = all.iter().any(|value| *value != all[0]);
        if conflict && self.is(Class::SeveralExpires) {
            self.say("expires", "0".to_owned());
        }
    }

    fn ages(&mut self) {
        if self.is(Class::AgeForms)
            && let Some(value) = self.said("age")
            && let Some((_, meant)) = AGES.iter().find(|(said, _)| *said == value)
        {
            self.say("age", meant.to_string());
        }
        let age = |words: &Self| words.said("age").and_then(|value| value.parse().ok()).unwrap_or(0u64);
        if self.is(Class::Delay) && self.heads.delay > 0 {
            self.say("age", (age(self) + self.heads.delay).to_string());
        }
        if self.is(Class::ApparentAge)
            && let Some(sent) = self.said("date").and_then(offset)
            && sent < 0
        {
            self.say("age", age(self).max(sent.unsigned_abs()).to_string());
        }
    }

    fn directives(&mut self) {
        if self.is(Class::Conflict) {
            for name in ["max-age", "s-maxage", "stale-while-revalidate"] {
                let values: Vec<_> = self
                    .control
                    .iter()
                    .filter(|(known, _)| known == name)
                    .map(|(_, value)| value.clone())
                    .collect();
                if values.iter().any(|value| *value != values[0]) {
                    self.drop(name);
                    self.control.push((name.to_owned(), Some("0".to_owned())));
                }
            }
        }
        if self.is(Class::Immutable) {
            self.drop("immutable");
        }
        if self.is(Class::Understanding) && self.has("must-understand") {
            self.drop("no-store");
            if matches!(self.heads.status, 299 | 599) {
                self.add("no-store");
            }
        }
        let proxies = self.is(Class::ProxyRevalidate) && self.has("proxy-revalidate");
        if proxies {
            self.drop("proxy-revalidate");
        }
        let shared = self.is(Class::SharedStale) && self.has("s-maxage");
        let unlifted = self.is(Class::NoCacheStale) && self.has("no-cache");
        // must-revalidate says the same, but also shares replies to credentials (RFC 9111 3.5).
        let credentials = self.heads.asked.iter().any(|(name, _)| *name == "authorization");
        let shareable = !credentials || self.has("public") || self.has("s-maxage");
        if (proxies || shared || unlifted) && shareable {
            self.add("must-revalidate");
        }
        if self.is(Class::VaryStar) && self.said("vary") == Some("*") {
            self.add("no-store");
        }
    }

    fn pragma(&mut self) {
        if !self.is(Class::ResponsePragma) || self.said("pragma").is_none() {
            return;
        }
        self.unsay("pragma");
        if !self.explicit() {
            self.unsay("last-modified");
        }
    }

    fn guesses(&mut self) {
        let Some(modified) = self.said("last-modified").and_then(offset).filter(|_| self.is(Class::Guess))
        else {
            return;
        };
        let sent = self.said("date").and_then(offset).unwrap_or(0);
        self.say("last-modified", http_date(modified.max(sent - 864_000)));
    }

    fn cookies(&mut self) {
        let personal = |given: &[(&'static str, String)]| given.iter().any(|(name, _)| *name == "cookie");
        let explicit = self.explicit();
        if self.is(Class::SetCookie) && self.heads.has("set-cookie") {
            self.unsay("set-cookie");
            if !explicit {
                self.add("no-store");
            }
        }
        if self.is(Class::Cookie) && !explicit {
            if personal(&self.heads.asked) {
                self.add("no-store");
            }
            if personal(&self.heads.asks) {
                self.heads.asks = vec![("cache-control", "no-cache".to_owned())];
            }
        }
    }

    fn status(&mut self) {
        if self.is(Class::Status) && (self.explicit() || self.has("public")) {
            self.heads.status = 200;
        }
    }

    fn second(&mut self) {
        let mut members: Vec<(String, Option<String>)> = Vec::new();
        for (name, value) in &self.heads.asks {
            if *name == "cache-control" {
                members.extend(pairs(value));
            }
        }
        let directed = !members.is_empty();
        if self.is(Class::RequestPragma) && directed {
            self.heads.asks.retain(|(name, _)| *name != "pragma");
        }
        let number = |value: &Option<String>| value.as_ref().and_then(|value| value.parse::<u64>().ok());
        if self.is(Class::RequestSeconds) {
            for (name, value) in &mut members {
                match name.as_str() {
                    "max-age" if number(value).unwrap_or(0) == 0 => {
                        (*name, *value) = ("no-cache".to_owned(), None)
                    }
                    "min-fresh" if number(value).is_none() => *value = Some("2147483648".to_owned()),
                    _ => {}
                }
            }
        }
        if self.is(Class::MaxStale) {
            members.retain(|(name, value)| name != "max-stale" || value.is_none() || number(value).is_some());
            for (name, value) in &mut members {
                if let Some(seconds) = number(value).filter(|_| name == "max-stale") {
                    *value = Some((seconds + 1).to_string());
                }
            }
        }
        let bounded = members.iter().any(|(name, _)| name == "max-age");
        let takes_stale = members.iter().position(|(name, _)| name == "max-stale");
        let window = self
            .control
            .iter()
            .find(|(name, _)| name == "stale-while-revalidate")
            .and_then(|(_, value)| number(value))
            .filter(|window| *window > 0);
        if let Some(window) =
            window.filter(|_| self.is(Class::WhileRevalidate) && (!bounded || takes_stale.is_some()))
        {
            match takes_stale.map(|at| &mut members[at].1) {
                Some(Some(value)) => *value = (window + 1).max(value.parse().unwrap_or(0)).to_string(),
                Some(None) => {}
                None => members.push(("max-stale".to_owned(), Some((window + 1).to_string()))),
            }
        }
        self.heads.asks.retain(|(name, _)| *name != "cache-control");
        let lines = members.into_iter().map(|(name, value)| {
            ("cache-control", value.map_or(name.clone(), |value| format!("{name}={value}")))
        });
        self.heads.asks.extend(lines);
    }
}

/// The directives of a plain list.
fn pairs(list: &str) -> impl Iterator<Item = (String, Option<String>)> + '_ {
    list.split(", ").filter(|member| !member.is_empty()).map(|member| match member.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (member.to_owned(), None),
    })
}

/// How many seconds from [`NOW`] a date is.
fn offset(value: &str) -> Option<i64> {
    DATES.iter().find_map(|(said, meant)| {
        (*said == value || meant.map(http_date).as_deref() == Some(value)).then_some(*meant)?
    })
}

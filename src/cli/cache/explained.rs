//! An explanation as people read it: the answer first, then section by section what it follows from.

mod slices;

use anstyle::{AnsiColor, Style};

use crate::admin::api::{
    Explanation, Ground, KeyDifference, KeyParts, NearKey, PastExplanation, StoredReply, SupposedOutcome,
    Variant,
};
use crate::cli::output::human::{bytes, duration, safe, time};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// The width of the names on the left.
const NAMES: usize = 12;

/// Other routes whose reasons are told.
const MAX_OTHERS: usize = 8;

/// The answer in one line.
pub fn headline(told: &Explanation) -> String {
    let colour = match told.verdict.as_str() {
        "hit" => AnsiColor::Green,
        "stale" | "validate" => AnsiColor::Yellow,
        "miss" | "bypass" => AnsiColor::Cyan,
        _ => AnsiColor::Red,
    };
    emphasised(&told.headline, Style::new().bold().fg_color(Some(colour.into())))
}

/// The first word in its colour.
fn emphasised(line: &str, style: Style) -> String {
    let end = line.find([':', ' ']).unwrap_or(line.len());
    let (word, rest) = line.split_at(end);
    format!("{style}{word}{style:#}{}", safe(rest))
}

/// All of it.
pub fn lines(told: &Explanation) -> Vec<String> {
    let mut page = Page { lines: vec![headline(told)] };
    for ground in &told.why {
        page.lines.push(format!("  {}", ground_text(ground)));
    }
    page.request(told);
    if let Some(key) = &told.key {
        page.key(key);
    }
    if let Some(entry) = &told.entry {
        page.stored(entry, told.at_ms, told.slices.is_some());
    }
    if let Some(slices) = &told.slices {
        slices::section(&mut page, slices);
    }
    page.guard(told);
    page.variants(&told.variants, told.at_ms);
    page.forward(told);
    page.nearest(&told.nearest);
    if let Some(reply) = &told.reply {
        page.supposed(reply);
    }
    page.lines
}

/// What was decided for a request that is over.
pub fn past(told: &PastExplanation) -> Vec<String> {
    let exchange = &told.exchange;
    let mut page = Page { lines: vec![emphasised(&told.headline, Style::new().bold())] };
    for ground in &told.grounds {
        page.lines.push(format!("  {}", ground_text(ground)));
    }
    page.section("Request");
    let scheme = exchange.scheme.as_deref().unwrap_or("http");
    page.line(&exchange.method, &safe(&format!("{scheme}://{}{}", exchange.host, exchange.target)));
    page.line("id", &safe(&exchange.id));
    page.line("at", &crate::telemetry::record::format_time(exchange.time));
    let took = format!(
        "{}, {} sent in {}",
        exchange.status,
        bytes(exchange.bytes as f64),
        duration(exchange.duration_ms * 1e3)
    );
    page.line("reply", &took);
    page.line("route", &safe(exchange.route.as_deref().unwrap_or("none")));
    if let Some(key) = &exchange.key {
        page.line("key", key);
    }
    if !exchange.asks.is_empty() {
        page.line("asked with", &safe(&exchange.asks.join(", ")));
    }
    if let Some(endpoint) = &exchange.endpoint {
        let first =
            exchange.upstream_first_byte_ms.map(|ms| format!(", its head after {}", duration(ms * 1e3)));
        let first = first.unwrap_or_default();
        page.line("origin", &safe(&format!("{endpoint}, attempts: {}{first}", exchange.attempts)));
    }
    for (name, value) in exchange.reply.iter().filter(|(_, value)| !value.is_empty()) {
        page.line("replied", &safe(&format!("{name}: {value}")));
    }
    page.section("Stored under its key now");
    if told.stored.is_empty() {
        page.lines.push("  nothing".to_owned());
    }
    for detail in &told.stored {
        let row = &detail.row;
        let text = format!(
            "{}, {}, stored {}, {} s of freshness left",
            row.state,
            row.status,
            time(row.stored_ms),
            row.ttl_s
        );
        page.lines.push(format!("  {}", safe(&text)));
    }
    page.lines
}

/// Lines on their way out.
struct Page {
    lines: Vec<String>,
}

impl Page {
    fn section(&mut self, name: &str) {
        self.lines.push(String::new());
        self.lines.push(format!("{BOLD}{name}{BOLD:#}"));
    }

    fn line(&mut self, name: &str, value: &str) {
        self.lines.push(format!("  {:NAMES$} {value}", safe(name)).trim_end().to_owned());
    }

    fn request(&mut self, told: &Explanation) {
        self.section("Request");
        self.line(&told.method, &safe(&told.url));
        if let Some(route) = &told.route {
            let policy = route.policy.as_ref().map(|policy| format!(", policy {policy}")).unwrap_or_default();
            let text = match route.upstream.as_str() {
                "" => route.name.clone(),
                upstream => format!("{} to upstream {upstream}, mode {}{policy}", route.name, route.mode),
            };
            self.line("route", &format!("{}{}", safe(&text), place(route.at.as_deref())));
        }
        let others: Vec<_> = told.verdicts.iter().filter(|verdict| !verdict.taken).collect();
        for (at, verdict) in others.iter().take(MAX_OTHERS).enumerate() {
            let name = if at == 0 { "not" } else { "" };
            self.line(name, &format!("{}: {}", safe(&verdict.route), safe(&verdict.reason)));
        }
        if others.len() > MAX_OTHERS {
            let more = others.len() - MAX_OTHERS;
            self.line(
                "",
                &format!("and {more} more: proxy-stone route test {} {}", told.method, safe(&told.url)),
            );
        }
    }

    fn key(&mut self, key: &KeyParts) {
        self.section("Key");
        self.line("digest", &key.digest);
        for part in &key.parts {
            let value = match (&part.value, part.hashed) {
                (Some(value), _) => safe(value),
                (None, true) => format!("{DIM}(hashed){DIM:#}"),
                (None, false) => format!("{DIM}(absent){DIM:#}"),
            };
            self.line(&part.name, &value);
        }
        let stored = match key.stored {
            0 => "nothing".to_owned(),
            1 => "one response".to_owned(),
            variants => format!("{variants} variants"),
        };
        self.line("stored", &stored);
    }

    fn stored(&mut self, entry: &StoredReply, now_ms: u64, sliced: bool) {
        let (detail, row) = (&entry.detail, &entry.detail.row);
        self.section(if sliced { "First slice" } else { "Stored response" });
        let kind = row.content_type.as_ref().map(|kind| format!(" of {kind}")).unwrap_or_default();
        let what = format!("{}, {}{kind}, by route {}", row.status, bytes(row.size as f64), row.route);
        self.line("reply", &safe(&what));
        for (at, ground) in entry.grounds.iter().enumerate() {
            self.line(if at == 0 { "lifetime" } else { "" }, &ground_text(ground));
        }
        let arrived = time(row.stored_ms);
        let sum = format!(
            "{} s = {} s on arrival + {} s since {arrived}",
            row.age_s, detail.initial_age_s, entry.resident_s
        );
        self.line("age", &sum);
        let left = format!("{} s = lifetime {} s - age {} s", row.ttl_s, detail.lifetime_s, row.age_s);
        self.line("ttl", &left);
        let until = |ms: u64| format!("{}{}", time(ms), distance(ms, now_ms));
        self.line("fresh until", &until(row.expires_ms));
        if let Some(ms) = entry.stale_while_revalidate_until_ms {
            self.line("stale until", &format!("{}, while it is refreshed", until(ms)));
        }
        if let Some(ms) = entry.stale_if_error_until_ms {
            self.line("on errors", &format!("{}, if the origin fails", until(ms)));
        }
        self.line("kept until", &until(row.keep_until_ms));
        if entry.soft_purged {
            self.line("purge", "softly purged: stale since then");
        }
        self.line("origin down", if entry.stands_in { "this would answer" } else { "this would not answer" });
        if !entry.parts.is_empty() {
            let parts: Vec<String> =
                entry.parts.iter().map(|(first, last)| format!("{first}-{last}")).collect();
            self.line("parts", &format!("bytes {}", parts.join(", ")));
        }
        if let Some((first, last)) = entry.missing {
            self.line(
                "fetched",
                &format!("bytes {first}-{last}, the rest of the reply comes from the parts"),
            );
        }
        if let Some(answer) = entry.answer.as_deref().and_then(answer_text) {
            self.line("answer", answer);
        }
        if !row.tags.is_empty() {
            self.line("tags", &safe(&row.tags.join(", ")));
        }
        if !row.groups.is_empty() {
            self.line("groups", &safe(&row.groups.join(", ")));
        }
    }

    fn guard(&mut self, told: &Explanation) {
        let Some(guard) = &told.guard else { return };
        let standing = match (guard.standing.as_str(), guard.left_ms) {
            ("suspect", _) => "suspect: two credentials got two replies, the next one settles it".to_owned(),
            ("leaking", left) => {
                let left = duration(left.unwrap_or_default() as f64 * 1e3);
                format!("leaking: replies differ by credential; left alone for {left} more")
            }
            (standing, _) => format!("{standing}: nothing is said against it"),
        };
        self.section("Leak guard");
        self.line("key", &standing);
        match guard.cleared {
            Some(true) => self.line("stored", "by these credentials, or others got the same"),
            Some(false) => self.line("stored", "by others; not seen to be the same for these credentials"),
            None => {}
        }
    }

    fn variants(&mut self, variants: &[Variant], now_ms: u64) {
        if variants.iter().all(|variant| variant.fields.is_empty()) {
            return;
        }
        self.section("Vary");
        for variant in variants {
            let fields: Vec<String> = variant
                .fields
                .iter()
                .map(|field| format!("{} {}", safe(&field.name), compared_text(&field.compared)))
                .collect();
            let mark = if variant.selected { "this one" } else { "" };
            let since = duration(now_ms.saturating_sub(variant.stored_ms) as f64 * 1e3);
            self.line(mark, &format!("{}, stored {since} ago: {}", variant.state, fields.join("; ")));
        }
    }

    fn forward(&mut self, told: &Explanation) {
        let waits = told.unshared_ms.is_some()
            || told.unsliced_ms.is_some()
            || told.resting_ms.is_some()
            || told.flights > 0;
        if told.conditions.is_empty() && !waits {
            return;
        }
        self.section("Origin");
        for (name, value) in &told.conditions {
            self.line("asked with", &format!("{}: {}", safe(name), safe(value)));
        }
        match told.flights {
            0 => {}
            1 => self.line("under way", "a fetch for this key that the request may join"),
            many => self.line("under way", &format!("{many} fetches for this key")),
        }
        let left = |ms: u64| duration(ms as f64 * 1e3);
        if let Some(ms) = told.unshared_ms {
            let text = format!(
                "for {} more: the last reply was for one client alone, so none waits for another",
                left(ms)
            );
            self.line("not shared", &text);
        }
        if let Some(ms) = told.unsliced_ms {
            self.line("whole", &format!("for {} more: its origin served no ranges of it", left(ms)));
        }
        if let Some(ms) = told.resting_ms {
            self.line("resting", &format!("for {} more: the last refresh failed", left(ms)));
        }
    }

    fn nearest(&mut self, nearest: &[NearKey]) {
        if nearest.is_empty() {
            return;
        }
        self.section("Nearest stored keys");
        for near in nearest {
            let differs: Vec<String> = near.differs.iter().map(difference_text).collect();
            self.lines.push(format!("  {} ({}): {}", safe(&near.url), near.state, differs.join("; ")));
        }
    }

    fn supposed(&mut self, reply: &SupposedOutcome) {
        self.section("Supposed reply");
        let skip = reply.skip.as_ref().map(|skip| format!(" ({skip})")).unwrap_or_default();
        self.lines.push(format!("  {}{skip}", reply.headline));
        for ground in &reply.grounds {
            self.lines.push(format!("  {}", ground_text(ground)));
        }
        if let Some(ms) = reply.keep_until_ms {
            self.line("kept until", &time(ms));
        }
    }
}

/// The ground in one line: what it says, the field, the rule, and where the config says so.
pub fn ground_text(ground: &Ground) -> String {
    let mut text = safe(&ground.says);
    if let Some(field) = &ground.field {
        text.push_str(&format!(" {BOLD}{}{BOLD:#}", safe(field)));
    }
    let mut sources = Vec::new();
    if ground.rule.starts_with("RFC") {
        sources.push(ground.rule.clone());
    }
    if let Some(config) = &ground.config {
        let value = config.value.as_ref().map(|value| format!(" = {value}")).unwrap_or_default();
        let at = config.at.as_ref().map_or_else(|| " by default".to_owned(), |at| format!(", {at}"));
        sources.push(safe(&format!("{}{value}{at}", config.key)));
    }
    if !sources.is_empty() {
        text.push_str(&format!(" {DIM}({}){DIM:#}", sources.join("; ")));
    }
    text
}

fn place(at: Option<&str>) -> String {
    at.map(|at| format!(" {DIM}({}){DIM:#}", safe(at))).unwrap_or_default()
}

/// `, in 42s` or `, 3s ago`.
fn distance(ms: u64, now_ms: u64) -> String {
    let micros = |ms: u64| ms as f64 * 1e3;
    match ms.checked_sub(now_ms) {
        Some(left) => format!(", in {}", duration(micros(left))),
        None => format!(", {} ago", duration(micros(now_ms - ms))),
    }
}

fn answer_text(answer: &str) -> Option<&'static str> {
    match answer {
        "not_modified" => Some("304, since the request's own conditions are met"),
        "partial" => Some("206 with the ranges asked for"),
        "unsatisfiable" => Some("416, since no range asked for lies within it"),
        _ => None,
    }
}

fn compared_text(compared: &str) -> &str {
    match compared {
        "only_asked" => "was absent",
        "only_stored" => "is absent here",
        other => other,
    }
}

fn difference_text(difference: &KeyDifference) -> String {
    let part = safe(&difference.part);
    if let Some(hidden) = &difference.hidden {
        return match hidden.as_str() {
            "only_asked" => format!("{part} is only in the request"),
            "only_stored" => format!("{part} is only in the stored key"),
            _ => format!("{part} differs"),
        };
    }
    let shown =
        |value: &Option<String>| value.as_ref().map_or_else(|| "none".to_owned(), |value| safe(value));
    format!("{part} is {}, not {}", shown(&difference.stored), shown(&difference.asked))
}

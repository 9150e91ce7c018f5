//! Reads lines of the access log back: JSON, and the text form as far as it goes.

use crate::clock::Timestamp;

use super::record::LogRecord;

/// What a line of either form tells; `None`: it is none of ours.
pub fn parse(line: &str) -> Option<LogRecord> {
    if line.starts_with('{') { serde_json::from_str(line).ok() } else { text(line) }
}

/// `TIME CLIENT "METHOD HOST TARGET PROTO" STATUS BYTES DURATION CACHE ROUTE ENDPOINT ID [end=..] [error=..]`
fn text(line: &str) -> Option<LogRecord> {
    let (before, rest) = line.split_once(" \"")?;
    let (request, after) = rest.split_once("\" ")?;
    let (time, client) = before.split_once(' ')?;
    let time: jiff::Timestamp = time.parse().ok()?;
    let mut words = request.split(' ').map(unescaped);
    let (method, host, target, protocol) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let mut fields = after.split(' ').map(unescaped);
    let mut next = || fields.next();
    let status = next()?;
    let bytes = next()?.parse().ok()?;
    let duration_ms = next()?.strip_suffix("ms")?.parse().ok()?;
    let cache = next()?;
    let given = |word: String| (word != "-").then_some(word);
    let (route, endpoint, id) = (given(next()?), given(next()?), next()?);
    let mut end = "complete".to_owned();
    let mut error = None;
    for word in fields {
        match word.split_once('=') {
            Some(("end", value)) => end = value.to_owned(),
            Some(("error", value)) => error = Some(value.to_owned()),
            _ => {}
        }
    }
    Some(LogRecord {
        time: Timestamp::from_millis(u64::try_from(time.as_millisecond()).unwrap_or(0)),
        id,
        client: client.parse().ok()?,
        method,
        host,
        target,
        protocol,
        status: status.parse().unwrap_or(0),
        bytes,
        duration_ms,
        cache,
        route,
        endpoint,
        end,
        error,
        ..LogRecord::blank()
    })
}

/// A word as it was before the log wrote it.
fn unescaped(word: &str) -> String {
    let mut text = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix("x20") {
            text.push(' ');
            rest = after;
        } else if let Some((code, after)) = rest.strip_prefix("u{").and_then(|rest| rest.split_once('}')) {
            text.extend(u32::from_str_radix(code, 16).ok().and_then(char::from_u32));
            rest = after;
        } else {
            let mut letters = rest.chars();
            text.extend(letters.next());
            rest = letters.as_str();
        }
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::access_log::line;
    use crate::telemetry::event::Finished;
    use crate::telemetry::settings::LogFormat;
    use crate::telemetry::testing::finished;

    fn written(event: &Finished, format: LogFormat) -> String {
        let mut text = Vec::new();
        line(&mut text, event, format);
        String::from_utf8(text).unwrap().trim_end().to_owned()
    }

    #[test]
    fn both_forms_read_back() {
        let odd = Finished { target: "/a b\"c\\d\n".into(), ..finished() };
        for event in [finished(), odd] {
            let record = LogRecord::from(&event);
            assert_eq!(parse(&written(&event, LogFormat::Json)), Some(record.clone()));
            let told = parse(&written(&event, LogFormat::Text)).unwrap();
            assert_eq!(
                (told.time, &told.method, &told.host, &told.target, told.status, told.bytes, &told.cache),
                (record.time, &record.method, &record.host, &record.target, 200, 1234, &record.cache)
            );
            assert_eq!((told.route, told.endpoint, told.id), (record.route, record.endpoint, record.id));
        }
        for other in ["", "x", "{}", "1.2.3.4 - - [x] \"GET / HTTP/1.1\" 200 5"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn lines_of_before_the_cache_s_own_fields_read_back() {
        let mut json: serde_json::Value =
            serde_json::from_str(&written(&finished(), LogFormat::Json)).unwrap();
        let fields = json.as_object_mut().unwrap();
        for key in ["scheme", "key", "forward", "stored", "detail", "asks", "reply"] {
            fields.remove(key);
        }
        assert!(parse(&json.to_string()).is_some_and(|record| record.scheme.is_none()));
    }
}

//! URLs from lists and access logs.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde::Deserialize;
use url::Url;

use crate::cli::exit::{Exit, Failure};

/// The most URLs that are gathered.
pub const MAX_URLS: usize = 1_000_000;

/// The longest line; longer ones are left out.
const MAX_LINE: u64 = 64 << 10;

/// The URLs of a list, in its order.
pub fn list(file: &Path) -> Result<Vec<String>, Failure> {
    let mut urls = Vec::new();
    lines(file, |line| {
        if let Some(url) = listed(line).filter(|_| urls.len() < MAX_URLS) {
            urls.push(url);
        }
    })?;
    Ok(urls)
}

/// The URL of a line, if it has one: as it stands, or in a JSON object.
fn listed(line: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Row {
        url: String,
    }
    match line.as_bytes().first()? {
        b'#' => None,
        b'{' => serde_json::from_str::<Row>(line).ok().map(|row| row.url),
        _ => Some(line.to_owned()),
    }
}

/// The URLs of an access log, the most wanted first; of equally wanted ones the one that came first.
pub fn of_log(file: &Path) -> Result<Vec<String>, Failure> {
    let mut wanted: HashMap<String, (u64, usize)> = HashMap::new();
    lines(file, |line| {
        let Some(url) = logged(line) else { return };
        let (order, full) = (wanted.len(), wanted.len() >= MAX_URLS);
        match wanted.get_mut(&url) {
            Some((count, _)) => *count += 1,
            None if full => {}
            None => drop(wanted.insert(url, (1, order))),
        }
    })?;
    let mut wanted: Vec<_> = wanted.into_iter().collect();
    wanted.sort_unstable_by_key(|(_, (count, order))| (std::cmp::Reverse(*count), *order));
    Ok(wanted.into_iter().map(|(url, _)| url).collect())
}

/// The URL of an exchange worth repeating: a GET of a client's that went well.
fn logged(line: &str) -> Option<String> {
    match line.starts_with('{') {
        true => logged_json(line),
        false => logged_text(line),
    }
}

fn logged_json(line: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Logged {
        method: String,
        host: String,
        target: String,
        protocol: String,
        status: u16,
    }
    let logged: Logged = serde_json::from_str(line).ok()?;
    worthy(&logged.method, &logged.host, &logged.target, &logged.protocol, logged.status)
}

/// `... "METHOD HOST TARGET PROTOCOL" STATUS ...`, or without a host as other servers write it.
fn logged_text(line: &str) -> Option<String> {
    let (_, rest) = line.split_once('"')?;
    let (request, rest) = rest.split_once('"')?;
    // What had to be escaped is nothing that a client needs again.
    if request.contains('\\') {
        return None;
    }
    let status = rest.split_whitespace().next()?.parse().ok()?;
    match request.split(' ').collect::<Vec<_>>()[..] {
        [method, host, target, protocol] => worthy(method, host, target, protocol, status),
        [method, target, protocol] => worthy(method, "", target, protocol, status),
        _ => None,
    }
}

fn worthy(method: &str, host: &str, target: &str, protocol: &str, status: u16) -> Option<String> {
    let went_well = (200..400).contains(&status);
    if method != "GET" || !went_well || protocol == "internal" || !target.starts_with('/') {
        return None;
    }
    Some(if host.is_empty() || host == "-" { target.to_owned() } else { format!("http://{host}{target}") })
}

/// The URL that is asked for: in normal form, with the base's scheme, host and port.
pub fn absolute(url: &str, base: Option<&Url>) -> Result<String, Failure> {
    let bad = |why: String| Failure::new(Exit::Usage, format!("\"{url}\" is no URL")).why(why);
    if url.starts_with('/') && base.is_none() {
        return Err(bad("it has no host".into()).next("the same command with --base http://host"));
    }
    let parsed = Url::options().base_url(base).parse(url).map_err(|error| bad(error.to_string()))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(bad("write http://host/path or https://host/path".into()));
    }
    let Some(base) = base else { return Ok(without_fragment(parsed)) };
    let mut at_base = base.clone();
    at_base.set_path(parsed.path());
    at_base.set_query(parsed.query());
    Ok(without_fragment(at_base))
}

fn without_fragment(mut url: Url) -> String {
    url.set_fragment(None);
    url.into()
}

/// Hands on each line that is not empty, without its end.
fn lines(file: &Path, mut each: impl FnMut(&str)) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        Failure::new(Exit::Machine, format!("{} can't be read", file.display())).why(error)
    };
    let from: Box<dyn Read> = match file.to_str() {
        Some("-") => Box::new(io::stdin()),
        _ => Box::new(File::open(file).map_err(failed)?),
    };
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    let mut too_long = false;
    loop {
        line.clear();
        if reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(failed)? == 0 {
            return Ok(());
        }
        let ended = line.last() == Some(&b'\n') || (line.len() as u64) < MAX_LINE;
        if ended && !too_long {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim();
            if !text.is_empty() {
                each(text);
            }
        }
        too_long = !ended;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_list_has_urls_or_rows_of_a_listing() {
        let long = "x".repeat(3 * MAX_LINE as usize);
        let file = written(&format!(
            "http://a/1\n\n# not this\n  http://a/2  \r\n{{\"key\":\"k\",\"url\":\"http://a/3\"}}\n{{}}\n{long}\n/4"
        ));
        assert_eq!(list(file.path()).unwrap(), ["http://a/1", "http://a/2", "http://a/3", "/4"]);
    }

    #[test]
    fn a_log_gives_the_most_wanted_first() {
        let text = |target: &str, method: &str, status: u16, protocol: &str| {
            format!(
                "2026-01-01T00:00:00.000Z 192.0.2.7 \"{method} a.example {target} {protocol}\" {status} 5 1.000ms hit r - id\n"
            )
        };
        let json = r#"{"time":"x","method":"GET","host":"a.example","target":"/often","protocol":"HTTP/1.1","status":200}"#;
        let log = [
            text("/once", "GET", 200, "HTTP/1.1"),
            text("/often", "GET", 200, "HTTP/1.1"),
            text("/gone", "GET", 404, "HTTP/1.1"),
            text("/posted", "POST", 200, "HTTP/1.1"),
            text("/own", "GET", 200, "internal"),
            text("/odd\\\"", "GET", 200, "HTTP/2"),
            "not a line of a log\n".to_owned(),
            format!("{json}\n"),
            "192.0.2.1 - - [x] \"GET /nginx HTTP/1.1\" 200 5\n".to_owned(),
        ];
        let file = written(&log.concat());
        assert_eq!(
            of_log(file.path()).unwrap(),
            ["http://a.example/often", "http://a.example/once", "/nginx"]
        );
    }

    #[test]
    fn a_base_gives_scheme_and_host() {
        let base = Url::parse("https://b.example:8443/ignored").unwrap();
        for (url, base, expected) in [
            ("http://a.example/x?y#z", None, "http://a.example/x?y"),
            ("http://a.example/x?y", Some(&base), "https://b.example:8443/x?y"),
            ("/x", Some(&base), "https://b.example:8443/x"),
            ("http://a.example/ü", None, "http://a.example/%C3%BC"),
        ] {
            assert_eq!(absolute(url, base).unwrap(), expected);
        }
        for wrong in ["/x", "a.example/x", "ftp://a/x", "http://"] {
            assert!(absolute(wrong, None).is_err(), "{wrong}");
        }
    }
}

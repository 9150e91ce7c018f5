//! How a line of the access log looks.
//!
//! What comes from outside (target, host, ids) is escaped: a line break or a terminal's control sequence in a
//! URL can neither forge a line nor reach the terminal of whoever reads the log.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::net::IpAddr;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::http::decimal::{Decimal, Dotted};
use crate::http::request_id;
use crate::telemetry::account::{Account, Id};
use crate::telemetry::event::End;
use crate::telemetry::record::{LogRecord, format_time};
use crate::telemetry::settings::LogFormat;
use crate::tls::Session;

/// Appends one line, with its line break.
pub(in crate::telemetry) fn line<'a>(out: &mut Vec<u8>, event: impl Into<Account<'a>>, format: LogFormat) {
    let event = &event.into();
    // Writing into memory cannot fail.
    let _ = match format {
        LogFormat::Text => text(out, event),
        LogFormat::Json => json(out, event),
    };
    out.push(b'\n');
}

/// `TIME CLIENT "METHOD HOST TARGET PROTO" STATUS BYTES DURATION CACHE ROUTE ENDPOINT ID`, then
/// `end=` and `error=` where the exchange did not end well, `limit=` and `limit_dry_run=` where a rate limit was reached, `user=`, and
/// what is known of the client's TLS.
fn text(out: &mut Vec<u8>, event: &Account<'_>) -> io::Result<()> {
    push_time(out, event.at);
    out.push(b' ');
    match event.client {
        IpAddr::V4(client) => out.extend_from_slice(Dotted::of(client).as_bytes()),
        IpAddr::V6(client) => write!(out, "{client}")?,
    }
    out.extend_from_slice(b" \"");
    push_word(out, event.method)?;
    for word in [event.host, event.target] {
        out.push(b' ');
        push_word(out, if word.is_empty() { "-" } else { word })?;
    }
    out.push(b' ');
    out.extend_from_slice(event.protocol.name().as_bytes());
    out.extend_from_slice(b"\" ");
    match event.status {
        0 => out.push(b'-'),
        status => push_number(out, status.into()),
    }
    let micros = u64::try_from(event.duration.as_micros()).unwrap_or(u64::MAX);
    out.push(b' ');
    push_number(out, event.sent);
    out.push(b' ');
    push_number(out, micros / 1000);
    push_thousandths(out, micros);
    out.extend_from_slice(b"ms ");
    out.extend_from_slice(event.cache.as_str().as_bytes());
    for word in [event.route, event.endpoint] {
        out.push(b' ');
        push_word(out, word.unwrap_or("-"))?;
    }
    out.push(b' ');
    match event.id {
        Id::Own(id) => {
            out.extend_from_slice(id.hyphenated().encode_lower(&mut [0; request_id::LENGTH]).as_bytes());
        }
        Id::Given(id) => push_word(out, id)?,
    }
    if event.end != End::Complete {
        write!(out, " end={}", event.end.as_str())?;
    }
    if let Some(error) = event.error {
        write!(out, " error={}", Word(error))?;
    }
    for (name, limit) in [("limit", event.limit), ("limit_dry_run", event.limit_dry_run)] {
        if let Some(limit) = limit {
            write!(out, " {name}={}", Word(limit))?;
        }
    }
    if let Some(user) = event.user {
        write!(out, " user={}", Word(user))?;
    }
    event.session.map_or(Ok(()), |session| tls(out, session))
}

/// As [`format_time`] writes it. Lines come by the thousand in a second, and but for the thousandths all of them say the
/// same.
fn push_time(out: &mut Vec<u8>, at: Timestamp) {
    thread_local! {
        static LAST: RefCell<(u64, Vec<u8>)> = const { RefCell::new((u64::MAX, Vec::new())) };
    }
    LAST.with_borrow_mut(|(second, text)| {
        if *second != at.secs() {
            let whole = format_time(Timestamp::from_secs(at.secs()));
            let end = whole.rfind('.').unwrap_or(whole.len());
            (*second, *text) = (at.secs(), whole.as_bytes()[..end].to_vec());
        }
        out.extend_from_slice(text);
    });
    push_thousandths(out, at.millis());
    out.push(b'Z');
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(Decimal::of(number).as_bytes());
}

/// A dot and three digits, of which the first may be zeros.
fn push_thousandths(out: &mut Vec<u8>, number: u64) {
    let digit = |worth: u64| b'0' + (number / worth % 10) as u8;
    out.extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
}

/// As [`Word`] writes it. Most have nothing to be escaped.
fn push_word(out: &mut Vec<u8>, word: &str) -> io::Result<()> {
    // All of them without a way out, so that many are looked at in one go.
    let is_plain = |byte: u8| byte.is_ascii_graphic() & (byte != b'"') & (byte != b'\\');
    if word.bytes().fold(true, |plain, byte| plain & is_plain(byte)) {
        out.extend_from_slice(word.as_bytes());
        return Ok(());
    }
    write!(out, "{}", Word(word))
}

fn tls(out: &mut Vec<u8>, session: &Session) -> io::Result<()> {
    let resumed = if session.resumed { "true" } else { "false" };
    for text in [" tls=", session.version, " cipher=", session.cipher, " resumed=", resumed] {
        out.extend_from_slice(text.as_bytes());
    }
    if let Some(sni) = &session.sni {
        out.extend_from_slice(b" sni=");
        push_word(out, sni)?;
    }
    if let Some(client) = &session.identity {
        write!(out, " client_cert={}", Word(&client.name()))?;
    }
    Ok(())
}

fn json(out: &mut Vec<u8>, event: &Account<'_>) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(out, Guarded);
    Ok(LogRecord::from(*event).serialize(&mut serializer)?)
}

/// Whether a character could harm a line, a field or a terminal: controls, and what turns or breaks lines.
fn is_harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// One field of a text line: without spaces, quotes or anything harmful.
struct Word<'a>(&'a str);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                ' ' => f.write_str("\\x20")?,
                c if is_harmful(c) => write!(f, "{}", c.escape_unicode())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// JSON in which harmful characters are escaped as well, though JSON itself would let some of them stand.
struct Guarded;

impl serde_json::ser::Formatter for Guarded {
    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, writer: &mut W, text: &str) -> io::Result<()> {
        let mut rest = text;
        while let Some(at) = rest.find(is_harmful) {
            writer.write_all(&rest.as_bytes()[..at])?;
            let mut tail = rest[at..].chars();
            if let Some(c) = tail.next() {
                // All of them lie in the basic plane.
                write!(writer, "\\u{:04x}", u32::from(c))?;
            }
            rest = tail.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::event::Finished;
    use crate::telemetry::testing::finished;

    fn lines(event: &Finished) -> (String, String) {
        let [text, json] = [LogFormat::Text, LogFormat::Json].map(|format| {
            let mut out = Vec::new();
            line(&mut out, event, format);
            String::from_utf8(out).unwrap()
        });
        (text, json)
    }

    #[test]
    fn a_line_reads_well() {
        let (text, json) = lines(&finished());
        insta::assert_snapshot!(text.trim_end(), @r#"2023-11-14T22:13:20.123Z 192.0.2.7 "GET api.example.com /v1/users?page=2 HTTP/1.1" 200 1234 12.345ms miss users 10.0.0.1:8080 01900000-0000-7000-8000-000000000001"#);
        insta::assert_snapshot!(json.trim_end(), @r#"{"time":"2023-11-14T22:13:20.123Z","id":"01900000-0000-7000-8000-000000000001","client":"192.0.2.7","method":"GET","host":"api.example.com","target":"/v1/users?page=2","protocol":"HTTP/1.1","status":200,"bytes":1234,"received":0,"duration_ms":12.345,"first_byte_ms":11.0,"cache":"miss","route":"users","upstream":"api","endpoint":"10.0.0.1:8080","attempts":1,"upstream_first_byte_ms":10.5,"end":"complete","error":null,"scheme":"http"}"#);
    }

    #[test]
    fn times_are_written_as_elsewhere() {
        for millis in [0, 999, 1_000, 1_700_000_000_007, 1_700_000_000_070, 1_700_000_059_999, u64::MAX / 2] {
            let (mut text, at) = (Vec::new(), Timestamp::from_millis(millis));
            push_time(&mut text, at);
            let text = String::from_utf8(text).unwrap();
            // Beyond the year 9999 there is no time to be told.
            let expected = format_time(at);
            assert_eq!(text[..20], expected[..20]);
            assert!(text == expected || millis > 253_402_207_200_000, "{text} {expected}");
        }
    }

    #[test]
    fn an_exchange_without_a_route_or_a_status_has_dashes() {
        let mut event = finished();
        event.route = None;
        event.endpoint = None;
        event.status = 0;
        event.host = "".into();
        event.end = End::ClientAborted;
        event.error = Some("connection_terminated");
        insta::assert_snapshot!(lines(&event).0.trim_end(), @r#"2023-11-14T22:13:20.123Z 192.0.2.7 "GET - /v1/users?page=2 HTTP/1.1" - 1234 12.345ms miss - - 01900000-0000-7000-8000-000000000001 end=client_aborted error=connection_terminated"#);
    }

    #[test]
    fn nothing_from_outside_can_forge_a_line() {
        let mut event = finished();
        let evil = "/a\r\n2023 \"GET\\ \u{1b}[2J\u{9b}2J\u{202e}\u{2028}\u{7f}";
        event.target = evil.into();
        event.host = evil.into();
        event.id = crate::telemetry::event::RequestId::Given(evil.into());
        event.route = Some("a b\"".into());
        let (text, json) = lines(&event);
        for line in [&text, &json] {
            assert_eq!(line.lines().count(), 1);
            assert!(!line.trim_end_matches('\n').contains(is_harmful), "{line}");
        }
        assert_eq!(text.matches('"').count() - text.matches("\\\"").count(), 2);
        assert_eq!(text.split(' ').count(), lines(&finished()).0.split(' ').count());
        let record: LogRecord = serde_json::from_str(&json).unwrap();
        assert_eq!(record.target, evil);
    }
}

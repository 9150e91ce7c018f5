//! `Vary` (RFC 9110 12.5.5): the request fields that chose a response.

use http::header::VARY;
use http::{HeaderMap, HeaderName};

/// What a response varies on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vary {
    /// `*`, or something that is not a list of field names: no other request is known to match.
    Any,
    /// These request fields; sorted, each once, none if the response has no `Vary`.
    Names(Vec<HeaderName>),
}

/// Reads a response's `Vary`, over all its lines.
pub fn of(headers: &HeaderMap) -> Vary {
    let mut names = Vec::new();
    for line in headers.get_all(VARY) {
        for member in line.as_bytes().split(|&byte| byte == b',') {
            match member.trim_ascii() {
                b"" => {}
                b"*" => return Vary::Any,
                member => match HeaderName::from_bytes(member) {
                    Ok(name) => names.push(name),
                    Err(_) => return Vary::Any,
                },
            }
        }
    }
    names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    Vary::Names(names)
}

/// Whether a response has `Vary: *`, or one that cannot be read.
pub fn is_any(headers: &HeaderMap) -> bool {
    headers.contains_key(VARY) && of(headers) == Vary::Any
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vary(lines: &[&str]) -> Vary {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(VARY, line.parse().unwrap());
        }
        of(&headers)
    }

    #[test]
    fn lists_over_lines_are_one_list() {
        let names = |names: &[&'static str]| {
            Vary::Names(names.iter().copied().map(HeaderName::from_static).collect())
        };
        assert_eq!(vary(&[]), names(&[]));
        assert_eq!(vary(&[""]), names(&[]));
        assert_eq!(vary(&["Foo, ,Bar", "foo,baz"]), names(&["bar", "baz", "foo"]));
        assert_eq!(vary(&["foo, *"]), Vary::Any);
        assert_eq!(vary(&["foo", "*"]), Vary::Any);
        assert_eq!(vary(&["foo bar"]), Vary::Any);
    }
}

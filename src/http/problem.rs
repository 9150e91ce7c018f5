//! Problem details (RFC 9457): the body of a reply that says what went wrong.

use bytes::Bytes;
use serde::Serialize;

/// The media type of [`Problem::to_bytes`].
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What went wrong, for the client's eyes: never an address, a name or a cause from inside.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Problem<'a> {
    /// The same for every problem of the kind. The `type` is `about:blank`, which is its default (RFC 9457 4.2.1).
    pub title: &'a str,
    /// The reply's status.
    pub status: u16,
    /// What helps to mend it.
    pub detail: &'a str,
    /// The exchange it happened in, as `X-Request-Id` and the log have it (an extension member, RFC 9457 3.2).
    pub request_id: &'a str,
}

impl Problem<'_> {
    /// As JSON, with a final line feed for terminals.
    pub fn to_bytes(&self) -> Bytes {
        let mut json = serde_json::to_vec(self).expect("a struct of strings and a number is valid JSON");
        json.push(b'\n');
        json.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_json() {
        let problem = Problem { title: "No \"route\"", status: 404, detail: "None.", request_id: "0190" };
        let expected =
            "{\"title\":\"No \\\"route\\\"\",\"status\":404,\"detail\":\"None.\",\"request_id\":\"0190\"}\n";
        assert_eq!(problem.to_bytes(), expected);
    }
}

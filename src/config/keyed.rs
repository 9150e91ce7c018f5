//! What a policy's `key` says, as the pipeline reads it.

use super::codes::Code;
use super::file::{Key, OneOrMany, QueryCase, User};
use super::scalar::{Problem, Scalar, is_token};
use super::tokens::Trusts;
use crate::pipeline::key::{self, ClaimKey, KeySettings, QueryRules, UserKey};

/// The largest body that belongs to a key where nobody says.
const DEFAULT_MAX_BODY: u64 = 64 << 10;

/// A cookie's name (RFC 6265 4.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieName(pub String);

impl Scalar for CookieName {
    const FORMAT: &'static str = "cookie-name";
    const EXPECTED: &'static str = "a cookie's name such as \"session\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        if is_token(text) {
            return Ok(Self(text.to_owned()));
        }
        let help = "write the name alone, without `=` and value; case counts";
        Err(Problem::new(Code::BadName, format!("`{text}` is not a cookie's name"), help))
    }
}

/// The key's settings; `trusts` are the tables of tokens.
pub fn key_settings(key: Key, trusts: &Trusts) -> KeySettings {
    let mut settings = KeySettings {
        query: QueryRules {
            pick: key.query.map(|names| names.into_iter().map(|name| name.0).collect()),
            ignore: key.ignore_query.into_iter().map(|name| name.0).collect(),
            sort: key.sort_query.unwrap_or_default(),
            case: key.query_case.map_or(key::QueryCase::Exact, case),
            ignore_empty: key.ignore_empty_query.unwrap_or_default(),
        },
        headers: key.headers.into_iter().map(|name| name.0).collect(),
        cookies: key.cookies.iter().map(|name| key::CookieName::new(&name.0)).collect(),
        ..KeySettings::default()
    };
    if let Some(host) = key.host {
        settings.host = host;
    }
    if let Some(method) = key.method {
        settings.method = method;
    }
    let max = key.max_body.map_or(DEFAULT_MAX_BODY, |size| size.0);
    settings.body = (key.body == Some(true)).then_some(max);
    settings.user = key.user.and_then(|own| user(own, trusts));
    settings
}

/// What tells users apart; the check has seen to it that it is one thing.
fn user(user: User, trusts: &Trusts) -> Option<UserKey> {
    let header = user.header.map(|name| UserKey::Header(name.0));
    let cookie = user.cookie.map(|name| UserKey::Cookie(key::CookieName::new(&name.0)));
    let tokens = user.tokens.as_ref().and_then(|name| trusts.get(&name.0)).cloned();
    let claim = user.claim.map(OneOrMany::into_vec).map(|names| {
        UserKey::Claim(ClaimKey { names: names.into_iter().map(|name| name.0.into()).collect(), tokens })
    });
    header.or(cookie).or(claim)
}

fn case(case: QueryCase) -> key::QueryCase {
    match case {
        QueryCase::Exact => key::QueryCase::Exact,
        QueryCase::Names => key::QueryCase::Names,
        QueryCase::All => key::QueryCase::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_s_name_is_a_token() {
        assert!(CookieName::parse("__Host-session").is_ok());
        for wrong in ["", "a b", "a=b", "a;", "ä"] {
            assert_eq!(CookieName::parse(wrong).unwrap_err().code, Code::BadName, "{wrong}");
        }
    }
}

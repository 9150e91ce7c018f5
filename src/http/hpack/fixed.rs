//! The static table (RFC 7541 A).

use http::header::{self, HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Scheme};
use http::{Method, StatusCode};

use super::decode::{Field, Name};

/// How many entries it has.
pub(super) const LAST: usize = 61;

/// The first that is not a pseudo-field.
const FIRST_FIELD: usize = 15;

static NAMES: [HeaderName; LAST - FIRST_FIELD + 1] = [
    header::ACCEPT_CHARSET,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::ACCEPT_RANGES,
    header::ACCEPT,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::AGE,
    header::ALLOW,
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LENGTH,
    header::CONTENT_LOCATION,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::DATE,
    header::ETAG,
    header::EXPECT,
    header::EXPIRES,
    header::FROM,
    header::HOST,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::LAST_MODIFIED,
    header::LINK,
    header::LOCATION,
    header::MAX_FORWARDS,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::RANGE,
    header::REFERER,
    header::REFRESH,
    header::RETRY_AFTER,
    header::SERVER,
    header::SET_COOKIE,
    header::STRICT_TRANSPORT_SECURITY,
    header::TRANSFER_ENCODING,
    header::USER_AGENT,
    header::VARY,
    header::VIA,
    header::WWW_AUTHENTICATE,
];

/// The entry with this index, and its size as lists of fields count it (RFC 9113 6.5.2); `None`: there is no such.
pub(super) fn field(index: usize) -> Option<(Field, usize)> {
    let (field, length) = match index {
        1 => (Field::Malformed(Box::new(Name::Authority)), 10),
        2 => (Field::Method(Method::GET), 7 + 3),
        3 => (Field::Method(Method::POST), 7 + 4),
        4 => (Field::Path(PathAndQuery::from_static("/")), 5 + 1),
        5 => (Field::Path(PathAndQuery::from_static("/index.html")), 5 + 11),
        6 => (Field::Scheme(Scheme::HTTP), 7 + 4),
        7 => (Field::Scheme(Scheme::HTTPS), 7 + 5),
        // No request has a status.
        8..=14 => (Field::Malformed(Box::new(Name::Unknown)), 7 + 3),
        16 => {
            let value = HeaderValue::from_static("gzip, deflate");
            (Field::Field(header::ACCEPT_ENCODING, value), 15 + 13)
        }
        _ => {
            let name = NAMES.get(index.checked_sub(FIRST_FIELD)?)?;
            (Field::Field(name.clone(), HeaderValue::from_static("")), name.as_str().len())
        }
    };
    Some((field, length + 32))
}

/// The name in the entry with this index.
pub(super) fn name(index: usize) -> Option<Name> {
    Some(match index {
        1 => Name::Authority,
        2 | 3 => Name::Method,
        4 | 5 => Name::Path,
        6 | 7 => Name::Scheme,
        8..=14 => Name::Unknown,
        _ => Name::Field(NAMES.get(index.checked_sub(FIRST_FIELD)?)?.clone()),
    })
}

/// The entry that is this status.
pub(super) fn status(status: StatusCode) -> Option<u8> {
    Some(match status.as_u16() {
        200 => 8,
        204 => 9,
        206 => 10,
        304 => 11,
        400 => 12,
        404 => 13,
        500 => 14,
        _ => return None,
    })
}

/// An entry that has this name, among those that replies have.
pub(super) fn index(name: &HeaderName) -> Option<u8> {
    Some(match *name {
        header::ACCEPT_RANGES => 18,
        header::ACCESS_CONTROL_ALLOW_ORIGIN => 20,
        header::AGE => 21,
        header::ALLOW => 22,
        header::CACHE_CONTROL => 24,
        header::CONTENT_DISPOSITION => 25,
        header::CONTENT_ENCODING => 26,
        header::CONTENT_LANGUAGE => 27,
        header::CONTENT_LENGTH => 28,
        header::CONTENT_LOCATION => 29,
        header::CONTENT_RANGE => 30,
        header::CONTENT_TYPE => 31,
        header::DATE => 33,
        header::ETAG => 34,
        header::EXPIRES => 36,
        header::LAST_MODIFIED => 44,
        header::LINK => 45,
        header::LOCATION => 46,
        header::RETRY_AFTER => 53,
        header::SERVER => 54,
        header::SET_COOKIE => 55,
        header::STRICT_TRANSPORT_SECURITY => 56,
        header::VARY => 59,
        header::VIA => 60,
        header::WWW_AUTHENTICATE => 61,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_where_they_are_looked_for() {
        for (at, name) in NAMES.iter().enumerate() {
            let there = usize::from(index(name).unwrap_or((at + FIRST_FIELD) as u8));
            assert_eq!(there, at + FIRST_FIELD, "{name}");
        }
        assert_eq!((NAMES.len() + FIRST_FIELD - 1, field(0), field(LAST + 1)), (LAST, None, None));
        assert_eq!(name(LAST), Some(Name::Field(header::WWW_AUTHENTICATE)));
    }
}

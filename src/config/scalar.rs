//! Values written as strings: each a type that is parsed once, with a finding that teaches where it can't be.

use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use super::codes::Code;
use crate::http::upgrade;

/// Why a string is not what the key takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind of problem.
    pub code: Code,
    /// What is wrong, without a full stop.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl Problem {
    /// A problem with a suggestion.
    pub fn new(code: Code, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: Some(help.into()) }
    }
}

/// A value that is written as a string.
pub trait Scalar: Sized {
    /// The schema's name for it.
    const FORMAT: &'static str;
    /// How people call it, with an example.
    const EXPECTED: &'static str;

    /// Reads it.
    fn parse(text: &str) -> Result<Self, Problem>;
}

/// Gives a scalar its serde and schema forms, and collects all formats for the shape check.
macro_rules! scalars {
    ($($kind:ty),+ $(,)?) => {
        $(
            impl<'de> serde::Deserialize<'de> for $kind {
                fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                    let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
                    <Self as Scalar>::parse(&text).map_err(|problem| serde::de::Error::custom(problem.message))
                }
            }

            impl schemars::JsonSchema for $kind {
                fn inline_schema() -> bool {
                    true
                }

                fn schema_name() -> std::borrow::Cow<'static, str> {
                    <Self as Scalar>::FORMAT.into()
                }

                fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                    schemars::json_schema!({ "type": "string", "format": <Self as Scalar>::FORMAT })
                }
            }
        )+

        /// Checks a string against a schema format of ours; formats that are not ours hold.
        pub fn check_format(format: &str, text: &str) -> Result<(), Problem> {
            $(if format == <$kind as Scalar>::FORMAT {
                return <$kind as Scalar>::parse(text).map(drop);
            })+
            Ok(())
        }

        /// How people call a format.
        pub fn expected_of(format: &str) -> Option<&'static str> {
            $(if format == <$kind as Scalar>::FORMAT {
                return Some(<$kind as Scalar>::EXPECTED);
            })+
            None
        }
    };
}

scalars!(
    Time,
    PositiveTime,
    Size,
    Network,
    FieldName,
    Verb,
    Upgradable,
    Name,
    Pseudonym,
    Tag,
    CacheText,
    PolicyName,
    Parameter,
    QueryName,
    FilePath,
    super::access::Clients,
    super::answers::FieldText,
    super::compression::MediaTypeName,
    super::cors::OriginText,
    super::answers::Location,
    super::edits::FieldTemplate,
    super::keyed::CookieName,
    super::limits::Rate,
    super::limits::LimitName,
    super::limits::KeyPart,
    super::lifetime::Statuses,
    super::lifetime::Share,
    super::lifetime::Ahead,
    super::rewrites::PathPrefix,
    super::rewrites::PathRegex,
    super::rewrites::PathText,
    super::secret::SecretRef,
    super::users::HashText,
    super::users::UserName,
    super::tokens::AlgorithmName,
    super::tokens::ClaimName,
    super::tokens::Party,
    super::server_name::ServerName,
    super::server_name::CertificateName,
    super::address::Address,
    super::address::ListenOn,
    super::address::FileMode,
    super::address::OriginUrl,
    super::address::Target,
    super::address::HostField,
    super::pattern::Host,
    super::pattern::Path,
    super::pattern::FieldValue,
);

/// A duration, zero included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Duration);

/// A duration above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PositiveTime(pub Duration);

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// A network, or a single address as a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(pub IpNet);

/// A field name, lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldName(pub HeaderName);

/// A request method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verb(pub http::Method);

/// The name of a protocol that a connection may change to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgradable(pub String);

/// The name of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(pub String);

/// How this proxy calls itself in `Via` (RFC 9110 7.6.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pseudonym(pub String);

/// A purge tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(pub String);

/// A query parameter's name, or its start and a final `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryName(pub crate::pipeline::settings::QueryPattern);

/// What `cache` says in a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheText {
    /// How long replies stay fresh.
    Time(Duration),
    /// A policy's name.
    Policy(String),
}

/// The name of a policy; not like a duration, since `cache` takes both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyName(pub String);

/// The name of a query parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter(pub String);

/// A path in the file system; a relative one starts at the config file's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePath(pub std::path::PathBuf);

const UNITS: [(&str, u64); 7] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
    ("y", 31_536_000_000),
];

/// The longest duration, a hundred years: beyond it arithmetic with the clock could overflow.
const LONGEST: u64 = 100 * 31_536_000_000;

const TIME_HELP: &str =
    "write a number and a unit, one of ms, s, m, h, d, w, y: \"250ms\", \"60s\", \"1h30m\", \"1d\"";

impl Scalar for Time {
    const FORMAT: &'static str = "duration";
    const EXPECTED: &'static str = "a duration such as \"60s\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        let bad = |message: String| Problem::new(Code::BadDuration, message, TIME_HELP);
        let trimmed = text.trim();
        if let Some(rest) = trimmed.strip_prefix('-').filter(|rest| Self::parse(rest).is_ok()) {
            let message = format!("`{trimmed}` is below zero");
            return Err(Problem::new(Code::NegativeDuration, message, format!("did you mean \"{rest}\"?")));
        }
        if trimmed.is_empty() {
            return Err(bad("this duration is empty".into()));
        }
        if trimmed.bytes().all(|byte| byte.is_ascii_digit()) {
            let message = format!("`{trimmed}` has no unit");
            return Err(Problem::new(
                Code::BadDuration,
                message,
                format!("for seconds write \"{trimmed}s\""),
            ));
        }
        let mut rest = trimmed;
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let (number, after) =
                split_number(rest).ok_or_else(|| bad(format!("`{text}` is not a duration")))?;
            let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let (unit, next) = after.split_at(end);
            let (_, millis) =
                UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(|| bad(unit_message(text, unit)))?;
            let part = number.checked_mul(*millis);
            total = part
                .and_then(|part| total.checked_add(part))
                .filter(|total| *total <= LONGEST)
                .ok_or_else(|| bad(format!("`{text}` is more than a hundred years")))?;
            rest = next.trim_start();
        }
        Ok(Self(Duration::from_millis(total)))
    }
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..end].parse().ok()?;
    Some((number, text[end..].trim_start()))
}

fn unit_message(text: &str, unit: &str) -> String {
    match unit {
        "" => format!("`{text}` is not a duration"),
        _ => format!("`{unit}` in `{text}` is not a unit of time"),
    }
}

impl Scalar for PositiveTime {
    const FORMAT: &'static str = "positive-duration";
    const EXPECTED: &'static str = "a duration such as \"60s\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        let Time(time) = Time::parse(text)?;
        if time.is_zero() {
            let message = "a time-out of zero would end everything at once";
            return Err(Problem::new(Code::Zero, message, "leave the key out for the default"));
        }
        Ok(Self(time))
    }
}

/// Writes a duration as the config does.
pub fn time_text(time: Duration) -> String {
    let mut millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".into();
    }
    let mut text = String::new();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        if millis >= size {
            text.push_str(&format!("{}{unit}", millis / size));
            millis %= size;
        }
    }
    text
}

const SIZE_HELP: &str = "write a number and a unit, one of B, KB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB, \
                         k, M, G (powers of 1024): \"64MiB\", \"10GB\"";

impl Scalar for Size {
    const FORMAT: &'static str = "size";
    const EXPECTED: &'static str = "a size such as \"64MiB\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        let bad = |message: String| Problem::new(Code::BadSize, message, SIZE_HELP);
        let trimmed = text.trim();
        if trimmed == "0" {
            return Ok(Self(0));
        }
        if !trimmed.is_empty() && trimmed.bytes().all(|byte| byte.is_ascii_digit()) {
            let message = format!("`{trimmed}` has no unit");
            return Err(Problem::new(Code::BadSize, message, format!("for bytes write \"{trimmed}B\"")));
        }
        let (number, unit) = split_decimal(trimmed).ok_or_else(|| bad(format!("`{text}` is not a size")))?;
        let factor =
            size_unit(unit).ok_or_else(|| bad(format!("`{unit}` in `{text}` is not a unit of size")))?;
        // Decimals are kept as thousandths, so that "1.5GiB" is exact.
        let bytes = u128::from(number) * u128::from(factor) / 1000;
        match u64::try_from(bytes) {
            Ok(bytes) if bytes <= i64::MAX as u64 => Ok(Self(bytes)),
            _ => Err(bad(format!("`{text}` is more than 8 EiB"))),
        }
    }
}

/// A decimal number in thousandths, and what follows.
fn split_decimal(text: &str) -> Option<(u64, &str)> {
    let (whole, mut rest) = split_number(text)?;
    let mut thousandths = whole.checked_mul(1000)?;
    if let Some(after) = rest.strip_prefix('.') {
        let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let digits = after.get(..end).filter(|digits| (1..=3).contains(&digits.len()))?;
        let scale = [100, 10, 1][digits.len() - 1];
        thousandths = thousandths.checked_add(digits.parse::<u64>().ok()? * scale)?;
        rest = after[end..].trim_start();
    }
    Some((thousandths, rest))
}

fn size_unit(unit: &str) -> Option<u64> {
    let lower = unit.to_ascii_lowercase();
    Some(match lower.as_str() {
        "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        _ => return None,
    })
}

impl Scalar for Network {
    const FORMAT: &'static str = "network";
    const EXPECTED: &'static str = "a network such as \"10.0.0.0/8\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        if let Ok(address) = text.parse::<std::net::IpAddr>() {
            return Ok(Self(address.into()));
        }
        let help = "write an address, or an address and its prefix length: \"10.0.0.0/8\", \"::1\"";
        let net: IpNet = text
            .parse()
            .map_err(|_| Problem::new(Code::BadNetwork, format!("`{text}` is not a network"), help))?;
        if net.trunc() != net {
            let message = format!("`{text}` has bits set beyond its prefix");
            return Err(Problem::new(
                Code::BadNetwork,
                message,
                format!("did you mean \"{}\"?", net.trunc()),
            ));
        }
        Ok(Self(net))
    }
}

impl Scalar for FieldName {
    const FORMAT: &'static str = "field-name";
    const EXPECTED: &'static str = "a field name such as \"accept-language\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        let help = "a field name has letters, digits and `-`, and no colon";
        HeaderName::from_bytes(text.as_bytes())
            .map(Self)
            .map_err(|_| Problem::new(Code::BadFieldName, format!("`{text}` is not a field name"), help))
    }
}

impl Scalar for Upgradable {
    const FORMAT: &'static str = "protocol";
    const EXPECTED: &'static str = "a protocol such as \"websocket\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        if !upgrade::is_protocol(text) {
            let help = "write it as the field Upgrade has it, such as \"websocket\" or \"SPDY/3.1\"";
            return Err(Problem::new(Code::BadProtocol, format!("`{text}` is not a protocol's name"), help));
        }
        if upgrade::is_own(text) {
            let message = format!("`{text}` would take requests past every check that is made here");
            let help = "leave it out: clients choose HTTP/2 by ALPN, or speak it from the beginning";
            return Err(Problem::new(Code::BadProtocol, message, help));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Scalar for Verb {
    const FORMAT: &'static str = "method";
    const EXPECTED: &'static str = "a method such as \"GET\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        let help = "a method is one word, such as \"GET\"";
        let method = http::Method::from_bytes(text.as_bytes())
            .map_err(|_| Problem::new(Code::BadMethod, format!("`{text}` is not a method"), help))?;
        let upper = text.to_ascii_uppercase();
        let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"];
        if upper != text && known.contains(&upper.as_str()) {
            // RFC 9110 9.1: methods are case-sensitive, so this could never match what clients send.
            let message = format!("`{text}` is not the method `{upper}`");
            let help = format!("methods are case-sensitive: write \"{upper}\"");
            return Err(Problem::new(Code::BadMethod, message, help));
        }
        if upper == "CONNECT" {
            let help = "leave it out";
            return Err(Problem::new(
                Code::BadMethod,
                "`CONNECT` asks for a tunnel, which is never routed",
                help,
            ));
        }
        Ok(Self(method))
    }
}

/// Whether a route, upstream or policy may be called so: names stand in logs, metrics and commands.
pub fn check_name(text: &str) -> Result<(), Problem> {
    let help = "a name has 1 to 128 characters, with no spaces or control characters";
    let fits = (1..=128).contains(&text.chars().count());
    if fits && !text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Ok(());
    }
    Err(Problem::new(Code::BadName, format!("`{text}` cannot be used as a name"), help))
}

impl Scalar for Name {
    const FORMAT: &'static str = "name";
    const EXPECTED: &'static str = "a name";

    fn parse(text: &str) -> Result<Self, Problem> {
        check_name(text).map(|()| Self(text.to_owned()))
    }
}

/// Whether a text is a token (RFC 9110 5.6.2).
pub fn is_token(text: &str) -> bool {
    let special = b"!#$%&'*+-.^_`|~";
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || special.contains(&byte))
}

impl Scalar for Pseudonym {
    const FORMAT: &'static str = "pseudonym";
    const EXPECTED: &'static str = "a name such as \"proxy-stone\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        // Cache-Status and Proxy-Status want an sf-token too, which starts with a letter or `*` (RFC 9651 3.3.4).
        let starts = text.starts_with(|c: char| c.is_ascii_alphabetic());
        if is_token(text) && starts && text.len() <= 128 {
            return Ok(Self(text.to_owned()));
        }
        let help = "begin with a letter; letters, digits, `-`, `.` and `_` may follow";
        Err(Problem::new(Code::BadName, format!("`{text}` cannot stand in `Via`"), help))
    }
}

impl Scalar for Tag {
    const FORMAT: &'static str = "tag";
    const EXPECTED: &'static str = "a tag such as \"users\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        let fits = (1..=256).contains(&text.len());
        if fits && !text.chars().any(|c| c.is_whitespace() || c.is_control() || c == ',') {
            return Ok(Self(text.to_owned()));
        }
        let help = "a tag is one word: spaces and commas separate tags in `Surrogate-Key` and `Cache-Tag`";
        Err(Problem::new(Code::BadName, format!("`{text}` cannot be used as a tag"), help))
    }
}

impl Scalar for CacheText {
    const FORMAT: &'static str = "policy-or-duration";
    const EXPECTED: &'static str = "a policy's name or a duration such as \"60s\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        match Time::parse(text) {
            Ok(Time(time)) => Ok(Self::Time(time)),
            Err(problem) if problem.code == Code::NegativeDuration => Err(problem),
            Err(problem) if text.bytes().all(|byte| byte.is_ascii_digit()) => Err(problem),
            Err(_) => check_name(text).map(|()| Self::Policy(text.to_owned())),
        }
    }
}

impl Scalar for PolicyName {
    const FORMAT: &'static str = "policy-name";
    const EXPECTED: &'static str = "a name";

    fn parse(text: &str) -> Result<Self, Problem> {
        check_name(text)?;
        match CacheText::parse(text) {
            Ok(CacheText::Policy(name)) => Ok(Self(name)),
            _ => {
                let message = format!(
                    "`{text}` reads like a duration, so `cache = \"{text}\"` could not mean this policy"
                );
                Err(Problem::new(Code::PolicyLikeDuration, message, "give it a name with a letter in front"))
            }
        }
    }
}

impl Scalar for Parameter {
    const FORMAT: &'static str = "parameter";
    const EXPECTED: &'static str = "a query parameter's name";

    fn parse(text: &str) -> Result<Self, Problem> {
        if text.is_empty() {
            let help = "write the parameter's name";
            return Err(Problem::new(Code::Empty, "this parameter's name is empty", help));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Scalar for QueryName {
    const FORMAT: &'static str = "query-name";
    const EXPECTED: &'static str = "a query parameter such as \"utm_*\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        use crate::pipeline::settings::QueryPattern;
        let bad = |message: String| {
            Problem::new(
                Code::BadName,
                message,
                "write a parameter's name, or its start and a final `*`: \"utm_*\"",
            )
        };
        if text.is_empty() {
            return Err(bad("this parameter's name is empty".into()));
        }
        let start = text.strip_suffix('*');
        if start.unwrap_or(text).contains(['*', '&', '=', '?', '#']) {
            return Err(bad(format!("`{text}` is not a query parameter's name")));
        }
        Ok(Self(match start {
            Some(start) => QueryPattern::Prefix(start.into()),
            None => QueryPattern::Exact(text.into()),
        }))
    }
}

impl Scalar for FilePath {
    const FORMAT: &'static str = "path";
    const EXPECTED: &'static str = "a path";

    fn parse(text: &str) -> Result<Self, Problem> {
        if text.is_empty() || text.contains('\0') {
            return Err(Problem::new(Code::Empty, "this is not a path", "write the path of a file"));
        }
        Ok(Self(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        let table = [
            ("60s", 60_000),
            ("250ms", 250),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
            ("0s", 0),
            ("1h 5m", 3_900_000),
            ("2w", 1_209_600_000),
        ];
        for (text, millis) in table {
            assert_eq!(Time::parse(text), Ok(Time(Duration::from_millis(millis))), "{text}");
        }
        let bad = [
            ("60", Code::BadDuration),
            ("-5s", Code::NegativeDuration),
            ("s", Code::BadDuration),
            ("", Code::BadDuration),
            ("5 parsecs", Code::BadDuration),
            ("1s1", Code::BadDuration),
            ("999999999999999y", Code::BadDuration),
            ("1.5s", Code::BadDuration),
        ];
        for (text, code) in bad {
            assert_eq!(Time::parse(text).unwrap_err().code, code, "{text}");
        }
        assert_eq!(PositiveTime::parse("0s").unwrap_err().code, Code::Zero);
    }

    #[test]
    fn sizes() {
        let table = [
            ("64MiB", 64 << 20),
            ("10GB", 10_000_000_000),
            ("4k", 4096),
            ("0", 0),
            ("1.5GiB", 3 << 29),
            ("12 B", 12),
            ("4KB", 4000),
        ];
        for (text, bytes) in table {
            assert_eq!(Size::parse(text), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "64", "MiB", "-1k", "1.2345k", "9999999999TiB", "5 apples"] {
            assert_eq!(Size::parse(text).unwrap_err().code, Code::BadSize, "{text}");
        }
    }

    #[test]
    fn single_words() {
        assert_eq!(Network::parse("10.0.0.1").unwrap().0.to_string(), "10.0.0.1/32");
        assert!(Network::parse("10.0.0.1/8").unwrap_err().help.unwrap().contains("10.0.0.0/8"));
        assert_eq!(Verb::parse("get").unwrap_err().code, Code::BadMethod);
        assert!(Verb::parse("PURGE").is_ok());
        assert!(FieldName::parse("X-Foo:").is_err());
        assert!(QueryName::parse("utm_*").is_ok() && QueryName::parse("*_x").is_err());
        assert!(Pseudonym::parse("edge-1").is_ok() && Pseudonym::parse("a b").is_err());
        assert!(Tag::parse("users").is_ok() && Tag::parse("a,b").is_err());
    }

    proptest! {
        #[test]
        fn durations_round_trip(millis in 0u64..LONGEST) {
            let text = time_text(Duration::from_millis(millis));
            prop_assert_eq!(Time::parse(&text), Ok(Time(Duration::from_millis(millis))));
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,20}") {
            for format in ["duration", "size", "network", "address", "listen-address", "url", "target", "host-pattern",
                           "path-pattern", "field-pattern", "host-field", "query-name", "method",
                           "location", "field-value", "field-template", "path-prefix", "path-regex", "path-text"] {
                let _ = check_format(format, &text);
            }
        }
    }
}

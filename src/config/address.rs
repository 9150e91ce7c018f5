//! Addresses to listen on, and the URLs of upstreams.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::HeaderValue;

use super::codes::Code;
use super::scalar::{Problem, Scalar, check_name};
use crate::server::ListenAddress;
use crate::upstream::settings::{EndpointSettings, HostPolicy};

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(pub SocketAddr);

impl Scalar for Address {
    const FORMAT: &'static str = "address";
    const EXPECTED: &'static str = "an address such as \"127.0.0.1:8080\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        let bad = |message: String, help: String| Problem::new(Code::BadAddress, message, help);
        let form = "write \"127.0.0.1:8080\", \"[::1]:8080\", or \":8080\" for every address";
        if let Ok(address) = text.parse() {
            return Ok(Self(address));
        }
        if let Some(port) = text.strip_prefix(':').or_else(|| text.strip_prefix("*:")) {
            return match port.parse() {
                Ok(port) => Ok(Self(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port))),
                Err(_) => Err(bad(port_message(port), "a port is a number up to 65535".into())),
            };
        }
        if text.parse::<u16>().is_ok() {
            let help =
                format!("write \":{text}\" for every address, \"127.0.0.1:{text}\" for this machine only");
            return Err(bad(format!("`{text}` is a port without an address"), help));
        }
        if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            let help = format!("add one: \"{}\"", SocketAddr::new(address, 8080));
            return Err(bad(format!("`{text}` has no port"), help));
        }
        if let Some((host, port)) = text.rsplit_once(':') {
            if host.parse::<IpAddr>().is_ok() || host.starts_with('[') && port.parse::<u16>().is_err() {
                return Err(bad(port_message(port), "a port is a number up to 65535".into()));
            }
            if host == "localhost" && port.parse::<u16>().is_ok() {
                let help = format!("write \"127.0.0.1:{port}\" or \"[::1]:{port}\"");
                return Err(bad("`localhost` is a name, and a listener needs an address".into(), help));
            }
        }
        if text.contains("://") {
            return Err(bad(format!("`{text}` is a URL, and a listener needs an address"), form.into()));
        }
        Err(bad(format!("`{text}` is not an address to listen on"), form.into()))
    }
}

fn port_message(port: &str) -> String {
    format!("`{port}` is not a port")
}

/// What to listen on: an address, a Unix socket, or a socket that was handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOn(pub ListenAddress);

/// The longest path of a Unix socket, less what stands beside it while it is made.
const LONGEST_PATH: usize = 106;

impl Scalar for ListenOn {
    const FORMAT: &'static str = "listen-address";
    const EXPECTED: &'static str = "an address such as \"127.0.0.1:8080\", or \"unix:/run/api.sock\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        let bad = |message: String, help: &str| Problem::new(Code::BadAddress, message, help);
        if let Some(path) = text.strip_prefix("unix:") {
            if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
                let help = "write \"unix:\" and the whole path: \"unix:/run/api.sock\"";
                return Err(bad(format!("`{path}` is not the path of a socket"), help));
            }
            if path.len() > LONGEST_PATH {
                let message = format!("a path of {} bytes is too long for a socket", path.len());
                return Err(bad(message, "the system takes 106: use a directory nearer to the root"));
            }
            return Ok(Self(ListenAddress::Unix(std::path::Path::new(path).into())));
        }
        if let Some(name) = text.strip_prefix("systemd") {
            let name = name.strip_prefix(':').map_or_else(|| name.is_empty().then_some(""), Some);
            let valid = |name: &&str| !name.contains(|c: char| c == ':' || c.is_control());
            return match name.filter(valid) {
                Some(name) => Ok(Self(ListenAddress::Inherited(name.into()))),
                None => Err(bad(
                    format!("`{text}` names no socket"),
                    "write \"systemd\", or \"systemd:web\" with the socket's FileDescriptorName",
                )),
            };
        }
        Address::parse(text).map(|address| Self(ListenAddress::Tcp(address.0)))
    }
}

/// The mode of a file, in octal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(pub u32);

impl Scalar for FileMode {
    const FORMAT: &'static str = "mode";
    const EXPECTED: &'static str = "a file's mode such as \"0660\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        let octal = matches!(text.len(), 3 | 4) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        let mode = octal.then(|| u32::from_str_radix(text, 8).ok()).flatten().filter(|mode| *mode <= 0o777);
        mode.map(Self).ok_or_else(|| {
            let help =
                "write \"0600\" for this user alone, \"0660\" for its group too, \"0666\" for everyone";
            Problem::new(Code::BadMode, format!("`{text}` is not a mode"), help)
        })
    }
}

/// Where an upstream's endpoint is: scheme, authority and base path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginUrl {
    /// `https` rather than `http`.
    pub tls: bool,
    /// Host name or address, without brackets.
    pub host: Box<str>,
    /// Explicit, or the scheme's own.
    pub port: u16,
    /// Empty, or `/like/this` without a final slash.
    pub base_path: Box<str>,
}

impl OriginUrl {
    /// As an endpoint of weight 1.
    pub fn endpoint(&self) -> EndpointSettings {
        EndpointSettings { tls: self.tls, host: self.host.clone(), port: self.port, weight: 1, backup: false }
    }
}

impl Scalar for OriginUrl {
    const FORMAT: &'static str = "url";
    const EXPECTED: &'static str = "a URL such as \"https://api.example.com\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        let bad = |message: String, help: String| Problem::new(Code::BadUrl, message, help);
        if !text.contains("://") {
            let help = match url::Url::parse(&format!("https://{text}")) {
                Ok(_) if !text.is_empty() && !text.contains(char::is_whitespace) => {
                    format!("did you mean \"https://{text}\" or \"http://{text}\"?")
                }
                _ => "write a URL such as \"https://api.example.com\"".into(),
            };
            return Err(bad(format!("`{text}` has no scheme"), help));
        }
        let url = url::Url::parse(text).map_err(|error| {
            bad(
                format!("`{text}` is not a URL: {error}"),
                "write one such as \"https://api.example.com\"".into(),
            )
        })?;
        let tls = match url.scheme() {
            "https" => true,
            "http" => false,
            other => {
                let help = "upstreams speak `http` or `https`".into();
                return Err(bad(format!("`{other}` is not a scheme of upstreams"), help));
            }
        };
        if !url.username().is_empty() || url.password().is_some() {
            // The message must not repeat them.
            let message = "a URL with credentials would show them in logs and commands";
            return Err(Problem::new(Code::Credentials, message, "leave out what stands before the `@`"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            let help = "leave out what follows the path: the query of each request is the client's".into();
            return Err(bad("an upstream's URL has no query or fragment".into(), help));
        }
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(bad(
                format!("`{text}` has no host"),
                "write one such as \"https://api.example.com\"".into(),
            ));
        };
        if port == 0 {
            return Err(bad("port 0 cannot be connected to".into(), "write the port it listens on".into()));
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').into();
        Ok(Self { tls, host, port, base_path: url.path().trim_end_matches('/').into() })
    }
}

/// What a route forwards to: an upstream's name, or a URL that makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(pub String);

impl Target {
    /// Whether a text is a URL rather than a name.
    pub fn is_url(text: &str) -> bool {
        text.contains("://")
    }
}

impl Scalar for Target {
    const FORMAT: &'static str = "target";
    const EXPECTED: &'static str = "an upstream's name or URL, such as \"https://api.example.com\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        if Self::is_url(text) || text.is_empty() {
            OriginUrl::parse(text)?;
        } else {
            check_name(text)?;
        }
        Ok(Self(text.to_owned()))
    }
}

/// What `Host` endpoints get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostField(pub HostPolicy);

impl Scalar for HostField {
    const FORMAT: &'static str = "host-field";
    const EXPECTED: &'static str = "\"upstream\", \"client\" or a host name";

    fn parse(text: &str) -> Result<Self, Problem> {
        let policy = match text {
            "upstream" => HostPolicy::Upstream,
            "client" => HostPolicy::Client,
            name => HostPolicy::Fixed(host_value(name)?),
        };
        Ok(Self(policy))
    }
}

fn host_value(name: &str) -> Result<HeaderValue, Problem> {
    let problem = || {
        let help = "write \"upstream\", \"client\", or a name such as \"api.example.com\"";
        Problem::new(Code::BadFieldValue, format!("`{name}` cannot be sent as `Host`"), help)
    };
    let authority: http::uri::Authority = name.parse().map_err(|_| problem())?;
    if authority.host().is_empty() || name.contains('@') {
        return Err(problem());
    }
    HeaderValue::from_str(name).map_err(|_| problem())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_addresses_unix_sockets_and_sockets_handed_over() {
        let good = ["127.0.0.1:8080", "unix:/run/api.sock", "systemd", "systemd:web.socket"];
        for text in good {
            assert_eq!(ListenOn::parse(text).expect("good").0.to_string(), text);
        }
        let long = format!("unix:/{}", "x".repeat(LONGEST_PATH));
        for text in ["unix:api.sock", "unix:", "unix:/run/", "systemd:a:b", "systemdx", "8080", &long] {
            let problem = ListenOn::parse(text).expect_err(text);
            assert!(problem.code == Code::BadAddress && problem.help.is_some(), "{text}");
        }
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(FileMode::parse("0660"), Ok(FileMode(0o660)));
        assert_eq!(FileMode::parse("666"), Ok(FileMode(0o666)));
        for text in ["", "660u", "0o660", "1777", "0888", "66", "-660"] {
            assert_eq!(FileMode::parse(text).expect_err(text).code, Code::BadMode);
        }
    }

    #[test]
    fn addresses() {
        let table = [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            (":8080", "[::]:8080"),
            ("*:80", "[::]:80"),
            ("[::1]:0", "[::1]:0"),
            ("0.0.0.0:1", "0.0.0.0:1"),
        ];
        for (text, address) in table {
            assert_eq!(Address::parse(text).map(|a| a.0.to_string()), Ok(address.into()), "{text}");
        }
        for text in
            ["8080", "127.0.0.1", "::1", "localhost:80", "127.0.0.1:99999", ":x", "http://a", "", "[::1]:x"]
        {
            let problem = Address::parse(text).unwrap_err();
            assert_eq!(problem.code, Code::BadAddress, "{text}");
            assert!(problem.help.is_some());
        }
    }

    #[test]
    fn urls() {
        let url = OriginUrl::parse("https://API.example.com/v1/").unwrap();
        assert_eq!((url.tls, &*url.host, url.port, &*url.base_path), (true, "api.example.com", 443, "/v1"));
        let url = OriginUrl::parse("http://[::1]:81").unwrap();
        assert_eq!((url.tls, &*url.host, url.port, &*url.base_path), (false, "::1", 81, ""));
        let bad = [
            ("api.example.com", Code::BadUrl),
            ("ftp://a", Code::BadUrl),
            ("http://", Code::BadUrl),
            ("http://u:p@a", Code::Credentials),
            ("http://a/?q", Code::BadUrl),
            ("http://a:0", Code::BadUrl),
            ("", Code::BadUrl),
        ];
        for (text, code) in bad {
            let problem = OriginUrl::parse(text).unwrap_err();
            assert_eq!(problem.code, code, "{text}");
            assert!(!problem.message.contains("u:p"));
        }
    }

    #[test]
    fn host_fields() {
        assert_eq!(HostField::parse("client").unwrap().0, HostPolicy::Client);
        assert!(matches!(HostField::parse("a.example:81").unwrap().0, HostPolicy::Fixed(_)));
        assert!(HostField::parse("a b").is_err() && HostField::parse("").is_err());
        assert!(HostField::parse("u@a").is_err());
    }
}

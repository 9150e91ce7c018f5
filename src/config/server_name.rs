//! Names in certificates: `tls` reads them, this says what to write instead.

use super::codes::Code;
use super::scalar::{Problem, Scalar};
use crate::tls::{NamePattern, SanPattern};

/// The name of a server: exact, or with a wildcard for its first label.
#[derive(Clone, Debug)]
pub struct ServerName(pub NamePattern);

impl Scalar for ServerName {
    const FORMAT: &'static str = "server-name";
    const EXPECTED: &'static str = "a name such as \"admin.example.com\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        NamePattern::parse(text).map(Self).ok_or_else(|| {
            let help = match text.parse::<std::net::IpAddr>() {
                Ok(_) => "clients ask for names only: what is said of no name holds for addresses",
                Err(_) => {
                    "write a name such as \"admin.example.com\", or \"*.example.com\" for one label more"
                }
            };
            Problem::new(Code::BadServerName, format!("`{text}` is not the name of a server"), help)
        })
    }
}

/// An alternative name that clients' certificates may have.
#[derive(Clone, Debug)]
pub struct CertificateName(pub SanPattern);

impl Scalar for CertificateName {
    const FORMAT: &'static str = "certificate-name";
    const EXPECTED: &'static str = "a certificate's name such as \"dns:*.example.com\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        SanPattern::parse(text).map(Self).map_err(|why| {
            let help = match text.split_once(':') {
                None if text.contains('@') => format!("did you mean \"email:{text}\"?"),
                Some(("spiffe" | "https" | "urn", _)) => format!("did you mean \"uri:{text}\"?"),
                None if !text.is_empty() => format!("did you mean \"dns:{text}\"?"),
                _ => "write \"dns:NAME\", \"uri:URI\", \"email:ADDRESS\" or \"ip:NETWORK\"".into(),
            };
            Problem::new(
                Code::BadCertificateName,
                format!("`{text}` is not a certificate's name: {why}"),
                help,
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_name_is_told_with_help() {
        for (text, help) in
            [("a b", "admin.example.com"), ("10.0.0.1", "addresses"), ("*", "admin.example.com")]
        {
            let problem = ServerName::parse(text).map(drop).unwrap_err();
            assert_eq!(problem.code, Code::BadServerName);
            assert!(problem.help.unwrap().contains(help), "{text}");
        }
        for (text, help) in [
            ("a.example", "\"dns:a.example\""),
            ("ann@example.com", "\"email:ann@example.com\""),
            ("spiffe://x/y", "\"uri:spiffe://x/y\""),
            ("oid:1", "dns:NAME"),
        ] {
            let problem = CertificateName::parse(text).map(drop).unwrap_err();
            assert_eq!(problem.code, Code::BadCertificateName);
            assert!(problem.help.unwrap().contains(help), "{text}");
        }
    }
}

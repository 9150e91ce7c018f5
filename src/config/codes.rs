//! Every finding's stable code, with its title: scripts and suppressions rely on them, so a code is never reused.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $severity:ident;)+) => {
        /// What kind of finding it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Code {
            /// Every code, in order.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The stable code, such as `PS0103`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code),+ }
            }

            /// What the code means, in a few words.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim()),+ }
            }

            /// How bad it is.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity),+ }
            }
        }
    };
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The config cannot be used.
    Error,
    /// The config can be used, but probably does not do what was meant.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

codes! {
    /// The config file cannot be read
    Unreadable = "PS0001", Error;
    /// The file is not UTF-8 text
    NotUtf8 = "PS0002", Error;
    /// The file is too large to be a config
    TooLarge = "PS0003", Error;

    /// Not valid TOML
    Syntax = "PS0101", Error;
    /// A key is given twice
    DuplicateKey = "PS0102", Error;
    /// An unknown key
    UnknownKey = "PS0103", Error;
    /// A value of the wrong type
    WrongType = "PS0104", Error;
    /// A key is missing
    MissingKey = "PS0105", Error;
    /// A word that is not among those allowed
    UnknownWord = "PS0106", Error;
    /// A number out of range
    OutOfRange = "PS0107", Error;
    /// An unknown profile
    UnknownProfile = "PS0108", Error;
    /// An environment variable is not set
    UnsetVariable = "PS0109", Error;
    /// A malformed variable reference
    BadVariable = "PS0110", Error;
    /// Keys that exclude each other
    ExclusiveKeys = "PS0111", Error;
    /// An empty value where one is needed
    Empty = "PS0112", Error;

    /// Not a duration
    BadDuration = "PS0201", Error;
    /// Not a size
    BadSize = "PS0202", Error;
    /// Not an address to listen on
    BadAddress = "PS0203", Error;
    /// Not an upstream's URL
    BadUrl = "PS0204", Error;
    /// Not a network
    BadNetwork = "PS0205", Error;
    /// Not a method
    BadMethod = "PS0206", Error;
    /// Not a field name
    BadFieldName = "PS0207", Error;
    /// Not a host pattern
    BadHost = "PS0208", Error;
    /// Not a path pattern
    BadPath = "PS0209", Error;
    /// Not a regular expression
    BadRegex = "PS0210", Error;
    /// A name that cannot be used
    BadName = "PS0211", Error;
    /// Credentials in a URL
    Credentials = "PS0212", Error;
    /// Not a field value
    BadFieldValue = "PS0213", Error;
    /// A time below zero
    NegativeDuration = "PS0214", Error;
    /// Zero where it makes no sense
    Zero = "PS0215", Error;
    /// Not a status or a range of them
    BadStatus = "PS0216", Error;
    /// Not a share
    BadShare = "PS0217", Error;
    /// Not a file's mode
    BadMode = "PS0218", Error;
    /// Not a signature algorithm
    BadAlgorithm = "PS0219", Error;
    /// Not the name of a server
    BadServerName = "PS0221", Error;
    /// Not a certificate's name
    BadCertificateName = "PS0222", Error;
    /// Not a rate
    BadRate = "PS0231", Error;
    /// Not a part of a rate limit's key
    BadLimitKey = "PS0232", Error;
    /// A secret in the config
    PlainSecret = "PS0220", Error;
    /// Not a protocol to change to
    BadProtocol = "PS0229", Error;
    /// Not a text with variables that fits here
    BadTemplate = "PS0240", Error;
    /// A field that is not for a config to say
    ReservedField = "PS0241", Error;
    /// Not an origin
    BadOrigin = "PS0242", Error;
    /// Not a media type
    BadMediaType = "PS0250", Error;
    /// Not a hash of a password that is taken
    BadHash = "PS0243", Error;

    /// An unknown upstream
    UnknownUpstream = "PS0301", Error;
    /// An unknown policy
    UnknownPolicy = "PS0302", Error;
    /// A policy named like a duration
    PolicyLikeDuration = "PS0303", Error;
    /// Two routes with one name
    DuplicateRoute = "PS0304", Error;
    /// A route without an upstream
    NoUpstream = "PS0305", Error;
    /// Nothing is routed
    NothingRouted = "PS0306", Error;
    /// An upstream that no route uses
    UnusedUpstream = "PS0307", Warning;
    /// A policy that no route uses
    UnusedPolicy = "PS0308", Warning;
    /// An unknown table of tokens
    UnknownTokens = "PS0309", Error;
    /// A table of tokens that no policy uses
    UnusedTokens = "PS0310", Warning;
    /// An unknown rate limit
    UnknownRateLimit = "PS0311", Error;
    /// A rate limit that no route uses
    UnusedRateLimit = "PS0312", Warning;

    /// An unknown description of TLS
    UnknownTls = "PS0320", Error;
    /// TLS that no listener speaks
    UnusedTls = "PS0321", Warning;

    /// Time-outs that contradict each other
    Timeouts = "PS0401", Warning;
    /// A route that can never match
    ShadowedRoute = "PS0402", Warning;
    /// A listener given twice
    DuplicateListener = "PS0403", Error;
    /// A listener that another one already covers
    OverlappingListener = "PS0404", Error;
    /// Only backup endpoints
    OnlyBackups = "PS0405", Error;
    /// Endpoints that do not serve the same thing
    MixedEndpoints = "PS0406", Error;
    /// Some endpoints use TLS and some do not
    MixedSchemes = "PS0407", Warning;
    /// An endpoint given twice
    DuplicateEndpoint = "PS0408", Warning;
    /// An upstream that is this proxy itself
    Loop = "PS0409", Error;
    /// Metrics can be read from other machines
    PublicTelemetry = "PS0410", Warning;
    /// A setting without effect
    NoEffect = "PS0411", Warning;
    /// Everyone is trusted
    TrustsEveryone = "PS0412", Warning;
    /// Requests with cookies share stored replies
    SharedCookies = "PS0413", Warning;
    /// Lifetimes that contradict each other
    Lifetimes = "PS0420", Error;
    /// A reply that is fetched anew all its life
    PrefetchAlways = "PS0421", Warning;
    /// What the key leaves out may change a reply
    UnkeyedInput = "PS0430", Warning;
    /// Every POST is taken for a query
    EveryPost = "PS0431", Warning;
    /// Tokens that nobody verifies
    UnverifiedTokens = "PS0432", Warning;
    /// A key that several algorithms share
    SharedKey = "PS0433", Warning;
    /// Nobody may purge by request
    PurgeByNobody = "PS0440", Error;
    /// Everyone may purge by request
    PurgeByEveryone = "PS0441", Warning;

    /// No certificate is for the name
    NameNotCovered = "PS0450", Warning;
    /// A certificate that is never used
    DuplicateCertificate = "PS0451", Warning;
    /// Guarded here, open there
    Unguarded = "PS0452", Warning;
    /// A redirect to TLS that nobody speaks
    NoTlsListener = "PS0453", Warning;
    /// Passwords in cleartext
    CleartextPasswords = "PS0454", Warning;
    /// A rate limit over a longer time than counts are likely to be kept
    LongWindow = "PS0460", Warning;
    /// A rate limit that exempts everyone
    ExemptsEveryone = "PS0461", Warning;
    /// A rate limit's key is made of what a route has not
    LimitKeyAbsent = "PS0462", Warning;
    /// Credentials for every origin
    CredentialsForAll = "PS0470", Error;
    /// Compressing what is compressed by itself
    CompressedTwice = "PS0463", Warning;

    /// A certificate file cannot be read
    CaUnreadable = "PS0501", Error;
    /// Not a certificate file
    CaInvalid = "PS0502", Error;
    /// The access log's directory does not exist
    LogDirectory = "PS0503", Error;
    /// An address cannot be bound
    CannotBind = "PS0504", Error;
    /// A file of TLS cannot be read
    CertificateUnreadable = "PS0505", Error;
    /// A file of TLS is not what it should be
    CertificateInvalid = "PS0506", Error;
    /// A key that is not the certificate's
    KeyMismatch = "PS0507", Error;
    /// A private key that everyone can read
    KeyExposed = "PS0508", Warning;
    /// A certificate that is not valid now
    CertificateExpired = "PS0509", Warning;
    /// A certificate that ends soon
    CertificateEndsSoon = "PS0511", Warning;
    /// Certificates in the wrong order
    ChainOrder = "PS0512", Warning;
    /// An OCSP response that cannot be sent
    StapleUnusable = "PS0513", Warning;
    /// A secret cannot be read
    SecretUnreadable = "PS0510", Error;
    /// A file of keys cannot be read
    KeysUnreadable = "PS0520", Error;
    /// Not a file of public keys
    KeysInvalid = "PS0521", Error;
    /// A secret that is too weak, or none
    WeakSecret = "PS0522", Error;
    /// An algorithm that no key is for
    AlgorithmWithoutKey = "PS0523", Error;
    /// A file that a reply is made of cannot be read
    ReplyFile = "PS0540", Error;
    /// Not a file of networks
    ClientsFile = "PS0541", Error;
    /// Not a file of users
    UsersFile = "PS0542", Error;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_titled() {
        let mut seen = std::collections::HashSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{code} twice");
            assert!(!code.title().is_empty() && !code.title().ends_with('.'));
            assert!(code.as_str().len() == 6 && code.as_str().starts_with("PS"));
        }
    }
}

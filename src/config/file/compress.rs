//! How replies are compressed.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::compression::MediaTypeName;
use crate::config::scalar::Size;

/// Compression: on or off, or a table, which means on.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Compress {
    /// On or off.
    Switch(bool),
    /// On.
    Table(Box<CompressTable>),
}

/// How replies are compressed (RFC 9110 8.4). Clients' Accept-Encoding is brought into one form: the one coding that they get, or
/// "identity"; that is what is forwarded, and what stored replies are chosen by. What the origin has coded by itself is
/// never coded again, and decoded for clients that do not take it. Ranges are served of what is stored, uncompressed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CompressTable {
    /// The content codings that clients are offered: "gzip", "br" and "zstd". Of those that a client likes best it gets
    /// the one that stands first here.
    #[schemars(extend("default" = ["zstd", "br", "gzip"]))]
    pub codings: Option<Vec<CodingName>>,
    /// How much effort gzip takes.
    #[schemars(range(min = 1, max = 9), extend("default" = 6))]
    pub gzip_level: Option<u8>,
    /// How much effort brotli takes. From 10 on it is slow, which only what is stored is worth.
    #[schemars(range(min = 0, max = 11), extend("default" = 5))]
    pub br_level: Option<u8>,
    /// How much effort zstd takes.
    #[schemars(range(min = 1, max = 19), extend("default" = 6))]
    pub zstd_level: Option<u8>,
    /// Media types that are compressed: "text/html", "text/*", "application/*+json" or "*/*". Without it text, JSON, XML,
    /// JavaScript, YAML and their kin, WebAssembly, SVG, BMP, and fonts that are not compressed by themselves.
    pub types: Option<Vec<MediaTypeName>>,
    /// Smaller bodies are sent as they are. Those whose length is not known beforehand are compressed.
    #[schemars(extend("default" = "1KiB"))]
    pub min_size: Option<Size>,
    /// The most that may come out of a body that is decoded for a client; what is larger, or grows more than 500 times, is cut.
    #[schemars(extend("default" = "256MiB"))]
    pub max_decoded: Option<Size>,
    /// What is done against those who guess secrets by how well they compress (BREACH): "skip" does not compress replies to
    /// requests with Cookie, Authorization or a client certificate, unless Sec-Fetch-Site or Referer say that they come from
    /// the site itself; "off" does nothing.
    #[schemars(extend("default" = "off"))]
    pub breach: Option<BreachGuard>,
}

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CodingName {
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Br,
    /// RFC 8878.
    Zstd,
}

/// What is done against BREACH.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BreachGuard {
    /// Nothing.
    Off,
    /// What may be an attack is not compressed.
    Skip,
}

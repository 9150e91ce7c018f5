//! Compression, from the config's words.

use super::codes::Code;
use super::file::{BreachGuard, CodingName, Compress, CompressTable, Route};
use super::scalar::{Problem, Scalar, Size};
use crate::coding::Level;
use crate::http::accept_encoding::Coding;
use crate::pipeline::coding::{Compression, Guard, MediaType};

/// A media type, or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaTypeName(pub MediaType);

impl Scalar for MediaTypeName {
    const FORMAT: &'static str = "media-type";
    const EXPECTED: &'static str = "a media type such as \"text/*\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        MediaType::parse(text).map(Self).ok_or_else(|| {
            let message = format!("`{}` is not a media type", text.escape_debug());
            let help = match text.split_once(';') {
                Some((before, _)) => format!("parameters do not count: write \"{}\"", before.trim_end()),
                None => "write \"text/html\", \"text/*\", \"application/*+json\" or \"*/*\"".to_owned(),
            };
            Problem::new(Code::BadMediaType, message, help)
        })
    }
}

/// What a route compresses.
pub(super) fn compression(route: &Route) -> Option<Box<Compression>> {
    match &route.compress {
        None | Some(Compress::Switch(false)) => None,
        Some(Compress::Switch(true)) => Some(Box::default()),
        Some(Compress::Table(table)) => Some(Box::new(of_table(table))),
    }
}

fn of_table(table: &CompressTable) -> Compression {
    let usual = Compression::default();
    let offered = match &table.codings {
        Some(names) => names.iter().map(|name| coding(*name)).collect(),
        None => usual.codings.iter().map(|(coding, _)| *coding).collect::<Vec<_>>(),
    };
    let level = |coding: Coding| table.level(coding).map_or(Level::usual(coding), Level);
    Compression {
        codings: offered.into_iter().map(|coding| (coding, level(coding))).collect(),
        types: match &table.types {
            Some(types) => types.iter().map(|name| name.0.clone()).collect(),
            None => usual.types,
        },
        min_size: table.min_size.map_or(usual.min_size, |Size(bytes)| bytes),
        max_decoded: table.max_decoded.map_or(usual.max_decoded, |Size(bytes)| bytes),
        guard: match table.breach {
            Some(BreachGuard::Skip) => Guard::Skip,
            Some(BreachGuard::Off) | None => Guard::Off,
        },
    }
}

impl CompressTable {
    /// The level of a coding, where it is given.
    pub fn level(&self, coding: Coding) -> Option<u8> {
        match coding {
            Coding::Gzip => self.gzip_level,
            Coding::Brotli => self.br_level,
            Coding::Zstd => self.zstd_level,
        }
    }
}

/// The coding of a name.
pub const fn coding(name: CodingName) -> Coding {
    match name {
        CodingName::Gzip => Coding::Gzip,
        CodingName::Br => Coding::Brotli,
        CodingName::Zstd => Coding::Zstd,
    }
}

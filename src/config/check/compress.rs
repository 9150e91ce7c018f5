//! Compression that does nothing, or costs time for nothing.

use super::{Checks, below, route_path};
use crate::config::codes::Code;
use crate::config::compression::coding;
use crate::config::file::{Compress, CompressTable};
use crate::config::tree::Step;
use crate::http::accept_encoding::Coding;

/// Media types whose content is compressed by itself.
const SHRUNK: [&str; 14] = [
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "image/avif",
    "video/mp4",
    "audio/mpeg",
    "font/woff",
    "font/woff2",
    "application/zip",
    "application/gzip",
    "application/zstd",
    "application/pdf",
    "application/x-7z-compressed",
];

impl Checks<'_> {
    pub(super) fn compress(&mut self) {
        for (index, route) in self.file.routes.iter().enumerate() {
            let at = route_path(index, "compress");
            let own = self.written(&at);
            if own && route.redirect.is_some() {
                self.no_effect(
                    "`compress` does nothing beside `redirect`",
                    &at,
                    "there is no body: remove it",
                );
            }
            // What the top of the file says is looked at there, once.
            if let Some(Compress::Table(table)) = route.compress.as_ref().filter(|_| !self.is_from_top(&at)) {
                self.compress_table(table, &at);
            }
        }
        if let Some(Compress::Table(table)) = &self.file.compress {
            self.compress_table(table, &["compress".into()]);
        }
    }

    fn is_from_top(&self, at: &[Step]) -> bool {
        let top = self.place(&["compress".into()]);
        top.is_some() && top == self.place(at)
    }

    fn compress_table(&mut self, table: &CompressTable, at: &[Step]) {
        let offered: Vec<Coding> = match &table.codings {
            Some(names) => names.iter().map(|name| coding(*name)).collect(),
            None => Coding::ALL.into(),
        };
        if offered.is_empty() && !self.damaged(&below(at, "codings")) {
            let found = self.found(Code::Empty, "clients are offered no coding", &below(at, "codings"));
            found.help = Some("`compress = false` compresses nothing".into());
        }
        for (index, coding) in offered.iter().enumerate().filter(|_| table.codings.is_some()) {
            if offered[..index].contains(coding) {
                let mut item = below(at, "codings");
                item.push(index.into());
                self.no_effect(&format!("`{}` is there already", coding.as_str()), &item, "remove it");
            }
        }
        for coding in Coding::ALL.into_iter().filter(|coding| !offered.contains(coding)) {
            let key = format!("{}_level", coding.as_str());
            if self.written(&below(at, &key)) && !offered.is_empty() {
                let message = format!("`{key}` does nothing: clients are not offered {}", coding.as_str());
                self.no_effect(&message, &below(at, &key), "add it to `codings`, or remove this");
            }
        }
        self.compressed_types(table, at);
    }

    fn compressed_types(&mut self, table: &CompressTable, at: &[Step]) {
        for (index, name) in table.types.iter().flatten().enumerate() {
            let mut item = below(at, "types");
            item.push(index.into());
            let shrunk = SHRUNK.iter().find(|shrunk| name.0.takes(shrunk.as_bytes()));
            if let Some(shrunk) = shrunk {
                let message =
                    format!("{shrunk} is compressed by itself: doing so again costs time, and saves nothing");
                let found = self.found(Code::CompressedTwice, message, &item);
                found.help = Some("name the types that are text".into());
            }
        }
        if table.types.as_ref().is_some_and(Vec::is_empty) && !self.damaged(&below(at, "types")) {
            let found = self.found(Code::Empty, "no media type is compressed", &below(at, "types"));
            found.help = Some("`compress = false` compresses nothing".into());
        }
    }
}

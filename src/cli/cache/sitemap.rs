//! Sitemaps (sitemaps.org): lists of URLs, and indexes of such lists.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use quick_xml::Reader;
use quick_xml::events::Event;

use crate::cli::exit::{Exit, Failure};

/// The largest sitemap; the protocol allows 50 MB.
const MAX_BYTES: u64 = 64 << 20;

/// The most URLs of one sitemap; the protocol allows as many.
const MAX_URLS: usize = 50_000;

/// The longest URL; the protocol allows 2048 characters.
const MAX_URL: usize = 8192;

/// How deep elements may stand in each other: the protocol needs 3, its extensions some more.
const MAX_DEPTH: usize = 16;

/// A sitemap.
#[derive(Debug, PartialEq, Eq)]
pub enum Sitemap {
    /// URLs of pages.
    Urls(Vec<String>),
    /// URLs of sitemaps.
    Index(Vec<String>),
}

/// The text of a file.
pub fn file(path: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Machine, format!("{} can't be read", path.display())).why(error)
    };
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// Reads one; what is wrong with it.
pub fn parse(text: &str) -> Result<Sitemap, String> {
    if text.len() as u64 > MAX_BYTES {
        return Err(format!("it is larger than {} MiB", MAX_BYTES >> 20));
    }
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    let mut path: Vec<String> = Vec::new();
    let mut urls = Vec::new();
    let mut url = String::new();
    let mut index = None;
    loop {
        let event = reader.read_event().map_err(|error| error.to_string())?;
        match event {
            Event::Start(element) => {
                path.push(element.local_name().as_ref().to_owned());
                if path.len() > MAX_DEPTH {
                    return Err(format!("its elements stand more than {MAX_DEPTH} deep"));
                }
                if path.len() == 1 {
                    index = Some(root(&path[0])?);
                }
                url.clear();
            }
            // Entities of its own could grow without bound, and a sitemap needs none.
            Event::DocType(_) => return Err("it has a DOCTYPE".into()),
            Event::Text(text) if is_location(&path) => url.push_str(&text.xml10_content()),
            Event::CData(text) if is_location(&path) => url.push_str(&text.xml10_content()),
            Event::GeneralRef(reference) if is_location(&path) => {
                let character = reference.resolve_char_ref().map_err(|error| error.to_string())?;
                match character.or_else(|| predefined(&reference.xml10_content())) {
                    Some(character) => url.push(character),
                    None => return Err("it uses an entity that XML does not define".into()),
                }
            }
            Event::End(_) => {
                if is_location(&path) && !url.trim().is_empty() {
                    urls.push(url.trim().to_owned());
                }
                if urls.len() > MAX_URLS {
                    return Err(format!("it has more than {MAX_URLS} URLs"));
                }
                path.pop();
            }
            Event::Eof => break,
            _ => {}
        }
        if url.len() > MAX_URL {
            return Err("one of its URLs has no end".into());
        }
    }
    match index {
        _ if !path.is_empty() => Err("it ends in the middle".into()),
        None => Err("it has no element".into()),
        Some(true) => Ok(Sitemap::Index(urls)),
        Some(false) => Ok(Sitemap::Urls(urls)),
    }
}

/// Whether the outermost element is an index.
fn root(name: &str) -> Result<bool, String> {
    match name {
        "urlset" => Ok(false),
        "sitemapindex" => Ok(true),
        other => Err(format!("it begins with <{}>", other)),
    }
}

/// `urlset/url/loc` or `sitemapindex/sitemap/loc`; extensions have a `loc` of their own, further in.
fn is_location(path: &[String]) -> bool {
    path.len() == 3 && path[2] == "loc" && (path[1] == "url" || path[1] == "sitemap")
}

/// The entities that every XML document has.
fn predefined(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn urls_and_indexes_are_read() {
        let urls = "<?xml version=\"1.0\"?>\n<urlset xmlns=\"http://www.sitemaps.org/schemas/sitemap/0.9\" \
                    xmlns:image=\"x\">\n<!-- c --><url><loc> http://a/?x=1&amp;y=&#50; </loc><lastmod>2026</lastmod>\
                    <image:image><image:loc>http://a/i.png</image:loc></image:image></url>\
                    <url><loc><![CDATA[http://a/b?c&d]]></loc></url><url><loc/></url></urlset>";
        let expected = ["http://a/?x=1&y=2", "http://a/b?c&d"].map(str::to_owned).to_vec();
        assert_eq!(parse(urls), Ok(Sitemap::Urls(expected)));
        let index = "<s:sitemapindex xmlns:s='x'><s:sitemap><s:loc>http://a/1.xml</s:loc></s:sitemap></s:sitemapindex>";
        assert_eq!(parse(index), Ok(Sitemap::Index(vec!["http://a/1.xml".into()])));
    }

    #[test]
    fn what_is_no_sitemap_says_why() {
        let deep = format!("<urlset>{}", "<a>".repeat(20));
        let long = format!("<urlset><url><loc>{}", "x".repeat(MAX_URL + 1));
        for (text, why) in [
            ("", "no element"),
            ("<html></html>", "<html>"),
            ("<urlset><url>", "middle"),
            ("<!DOCTYPE x [<!ENTITY a 'b'>]><urlset/>", "DOCTYPE"),
            ("<urlset><url><loc>&a;</loc></url></urlset>", "entity"),
            (&deep, "deep"),
            (&long, "no end"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(why), "{text:.60}: {error}");
        }
        let many = format!("<urlset>{}</urlset>", "<url><loc>http://a</loc></url>".repeat(MAX_URLS + 1));
        assert!(parse(&many).unwrap_err().contains("50000"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,200}", parts in proptest::collection::vec(proptest::sample::select(
            vec!["<urlset>", "<url>", "<loc>", "x", "&amp;", "&#0;", "&x;", "<![CDATA[", "]]>", "</loc>", "</url>", "<!--"],
        ), 0..20)) {
            let _ = parse(&text);
            let _ = parse(&parts.concat());
        }
    }
}

//! The repository keeps its own rules: the rooms import downwards only, and what is generated is current.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms from top to bottom; those in one row do not import each other.
const HOUSE: &[&[&str]] = &[
    &["cli"],
    &["app"],
    &["config", "admin", "server"],
    &["pipeline"],
    &["route", "cache", "upstream"],
    &["telemetry"],
    &["http"],
    &["clock"],
];

/// Imports against the order that are stated exceptions: plain vocabulary without behaviour.
const EXCEPTIONS: &[(&str, &str)] = &[
    // `ClientConn` says which protocol the client speaks, in the event's own words.
    ("http", "crate::telemetry::event::Protocol"),
    // The reload report carries the findings that `config lint` prints.
    ("admin", "crate::config"),
];

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn floor(room: &str) -> Option<usize> {
    HOUSE.iter().position(|row| row.contains(&room))
}

#[test]
fn imports_point_down() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&src).unwrap();
        let first = relative.components().next().unwrap().as_os_str().to_str().unwrap();
        let room = first.trim_end_matches(".rs");
        let Some(own) = floor(room) else { continue };
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
        for (number, line) in code.lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for part in line.split("crate::").skip(1) {
                let other: String =
                    part.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                let Some(theirs) = floor(&other) else { continue };
                let excepted = EXCEPTIONS
                    .iter()
                    .any(|(from, what)| *from == room && format!("crate::{part}").starts_with(what));
                if other != room && theirs <= own && !excepted {
                    wrong.push(format!("{}:{}: {}", relative.display(), number + 1, line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the order of the house:\n{}", wrong.join("\n"));
}

#[test]
fn nothing_unsafe_and_nothing_left_open() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let left: Vec<String> = files
        .iter()
        .filter(|file| {
            let text = fs::read_to_string(file).unwrap();
            ["todo!(", "unimplemented!(", "dbg!(", "FIXME", "XXX"].iter().any(|word| text.contains(word))
        })
        .map(|file| file.display().to_string())
        .collect();
    assert!(left.is_empty(), "left open: {left:?}");
}

//! The built binary: help texts, misuse, what commands say when no instance runs, and the files made from the
//! command tree.
//!
//! `TRYCMD=overwrite cargo test --test cli` writes the texts anew; `proxy-stone completions --out completions` and
//! `proxy-stone man --out man` the files.

use std::collections::BTreeMap;
use std::path::Path;

use assert_cmd::Command;

#[test]
fn the_command_line_says_what_it_should() {
    trycmd::TestCases::new().case("tests/cli/*.trycmd");
}

#[test]
fn committed_completions_are_those_of_the_binary() {
    assert_current("completions");
}

#[test]
fn committed_manual_pages_are_those_of_the_binary() {
    assert_current("man");
}

/// Compares a committed directory with what the command of the same name writes.
fn assert_current(command: &str) {
    let made = tempfile::tempdir().unwrap();
    Command::cargo_bin("proxy-stone").unwrap().args([command, "--out"]).arg(made.path()).assert().success();
    let committed = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(command));
    let made = files(made.path());
    let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
    let again = format!("run `proxy-stone {command} --out {command}`");
    assert_eq!(names(&committed), names(&made), "{again}");
    for (name, text) in &made {
        assert!(committed[name] == *text, "{command}/{name} is not current: {again}");
    }
}

fn files(directory: &Path) -> BTreeMap<String, String> {
    std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read_to_string(entry.path()).unwrap())
        })
        .collect()
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let binary = assert_cmd::cargo::cargo_bin("proxy-stone");
    let pipe = format!("'{}' man | head -c 1 >/dev/null; echo ${{PIPESTATUS[0]}}", binary.display());
    let output = std::process::Command::new("bash").args(["-c", &pipe]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "0");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

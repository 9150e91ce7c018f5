//! The repository keeps its own rules: the rooms import downwards only, and what is generated is current.

use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use proxy_stone::config::{self, Source};

/// The rooms from top to bottom; those in one row do not import each other.
const HOUSE: &[&[&str]] = &[
    &["cli"],
    &["app"],
    &["config", "admin", "server", "bench"],
    &["pipeline"],
    &["route", "limit", "cache", "auth", "upstream", "tunnel"],
    &["telemetry"],
    &["http"],
    &["tls", "piped"],
    &["clock", "descriptors"],
];

/// Imports against the order that are stated exceptions: plain vocabulary without behaviour.
const EXCEPTIONS: &[(&str, &str)] = &[
    // `ClientConn` says which protocol the client speaks, in the event's own words.
    ("http", "crate::telemetry::event::Protocol"),
    // Request ids are parsed from a field, and carried by the event.
    ("http", "crate::telemetry::event::RequestId"),
    // `config` fills every room's settings.
    ("config", "crate::server::ListenAddress"),
    ("config", "crate::server::ListenerSettings"),
    ("config", "crate::server::settings"),
    ("config", "crate::server::Settings"),
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

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn in_directory(directory: &str, extension: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(directory))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(extension))
        .map(|name| format!("{directory}/{name}"))
        .collect();
    names.sort();
    names
}

/// The fenced blocks of this language in a Markdown text.
fn fenced<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let open = format!("```{language}\n");
    text.split(open.as_str()).skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect()
}

/// The commands that a Markdown text shows: in code spans and after the prompt of console blocks.
fn commands_of_markdown(text: &str) -> Vec<String> {
    let prompted = fenced(text, "console")
        .into_iter()
        .flat_map(str::lines)
        .filter_map(|line| line.trim_start().strip_prefix("$ "))
        .map(str::to_owned);
    let prose: String = text.split("```").step_by(2).collect();
    let spans = prose.split('`').skip(1).step_by(2).map(|span| span.replace('\n', " ")).collect::<Vec<_>>();
    prompted.chain(spans).collect()
}

/// The commands in the examples of a manual page.
fn commands_of_manual(text: &str) -> Vec<String> {
    let plain = text.replace("\\-", "-").replace("\\*(Aq", "'");
    plain.lines().filter(|line| line.starts_with("proxy-stone ")).map(str::to_owned).collect()
}

/// Why a command line does not fit the command tree. Its values are not looked at, only commands and options.
fn misfit(command: &str) -> Option<String> {
    let mut words = command.split_whitespace().skip_while(|word| {
        let name = word.rsplit('/').next().unwrap_or(word);
        name != "proxy-stone"
    });
    words.next()?;
    let root = proxy_stone::cli::Cli::command();
    let mut here = &root;
    let mut done = false;
    for word in words.take_while(|word| !["|", "&", "&&", ";", ">"].contains(word)) {
        if let Some(name) = word.strip_prefix("--").map(|name| name.split('=').next().unwrap_or(name)) {
            let known = |command: &clap::Command| {
                ["help", "version", ""].contains(&name)
                    || command.get_arguments().any(|argument| argument.get_long() == Some(name))
            };
            if !known(here) && !known(&root) {
                return Some(format!("no option --{name}: {command}"));
            }
        } else if !done && !word.starts_with('-') && here.has_subcommands() {
            match here.find_subcommand(word) {
                Some(next) => here = next,
                // A name for what a reader is to put in, or the options of `proxy-stone --instance NAME status`.
                None if word.chars().all(|c| c.is_ascii_uppercase()) => done = true,
                None => return Some(format!("no command {word}: {command}")),
            }
        }
    }
    None
}

#[test]
fn the_commands_that_documents_name_exist() {
    let mut commands = Vec::new();
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        commands.extend(commands_of_markdown(&read(document)));
    }
    for page in in_directory("man", ".1") {
        commands.extend(commands_of_manual(&read(page)));
    }
    for example in in_directory("examples", "") {
        let text = read(&example);
        commands.extend(text.split('`').skip(1).step_by(2).map(str::to_owned));
        commands.extend(
            text.lines()
                .filter_map(|line| line.strip_prefix("Exec")?.split_once('='))
                .map(|(_, command)| command.to_owned()),
        );
    }
    assert!(commands.len() > 100, "only {} commands were found", commands.len());
    let wrong: Vec<String> = commands.iter().filter_map(|command| misfit(command)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_command_that_does_not_exist_is_noticed() {
    for fits in
        ["proxy-stone cache ls -o wide", "proxy-stone reload", "proxy-stone completions SHELL", "cargo x"]
    {
        assert_eq!(misfit(fits), None);
    }
    for wrong in ["proxy-stone cache lz", "/usr/bin/proxy-stone frob", "proxy-stone stop --hard"] {
        assert!(misfit(wrong).is_some(), "{wrong}");
    }
}

#[test]
fn every_config_that_is_shown_lints_clean() {
    let mut sources: Vec<Source> =
        in_directory("examples", ".toml").into_iter().map(|path| Source::File(path.into())).collect();
    for (number, text) in fenced(&read("README.md"), "toml").into_iter().enumerate() {
        sources
            .push(Source::Text { name: format!("README.md, block {}", number + 1), text: text.to_owned() });
    }
    assert!(sources.len() > 4);
    for source in sources {
        let mut findings = config::load::lint(&source, None).findings;
        // Certificates are every machine's own.
        findings.retain(|finding| finding.code != config::Code::CertificateUnreadable);
        let told: Vec<String> = findings.iter().map(|finding| finding.render(false)).collect();
        assert!(told.is_empty(), "{}", told.join("\n"));
    }
}

#[test]
fn the_readme_points_only_to_what_is_there() {
    let readme = read("README.md");
    let targets: Vec<&str> = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(targets.len() > 3);
    for target in targets.into_iter().filter(|target| !target.contains("://")) {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(target).exists(), "{target} is not there");
    }
}

#[test]
fn the_changelog_begins_with_what_is_unreleased() {
    let changelog = read("CHANGELOG.md");
    let mut headings = changelog.lines().filter_map(|line| line.strip_prefix("## "));
    assert_eq!(headings.next(), Some("Unreleased"));
}

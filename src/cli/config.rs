//! `proxy-stone config`

use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use anstream::eprintln;
use clap::{Subcommand, ValueEnum};
use serde_json::json;

use super::exit::{Exit, Failure, Outcome};
use super::output::{self, Column, Format, Kind, OutputArgs};
use super::{Global, instance};
use crate::admin::api::{Status, path};
use crate::config::address::ListenOn;
use crate::config::check::listeners::unbindable;
use crate::config::finding::{count, sort};
use crate::config::scalar::Scalar;
use crate::config::{self, Finding, Loaded, Overrides, Source};
use crate::server::{ListenAddress, ListenerSettings, listener};

/// Write, check and explain the config file.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands about the config file.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Write a commented starter file.
    #[command(after_long_help = INIT_EXAMPLES)]
    Init(InitArgs),
    /// Check a config file: every problem at once, with its place and what to do.
    ///
    /// Each profile is checked too, and that the addresses can be listened on, unless the running instance is the
    /// one that holds them.
    #[command(after_long_help = LINT_EXAMPLES)]
    Lint(LintArgs),
    /// Print the config that is in effect, with everything built in.
    #[command(after_long_help = SHOW_EXAMPLES)]
    Show(ShowArgs),
    /// Print the JSON Schema of the config file, for editors.
    #[command(after_long_help = SCHEMA_EXAMPLES)]
    Schema,
}

/// Arguments of `config init`.
#[derive(Clone, Debug, clap::Args)]
pub struct InitArgs {
    /// The file to write; - for standard output.
    #[arg(value_name = "FILE", default_value = config::place::FILE_NAME, value_hint = clap::ValueHint::FilePath)]
    pub file: PathBuf,

    /// Write over a file that is there.
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `config lint`.
#[derive(Clone, Debug, clap::Args)]
pub struct LintArgs {
    /// The config file; - for standard input. Without it the usual places are looked at.
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub file: Option<PathBuf>,

    /// The config file, named as `serve` has it.
    #[arg(short, long, value_name = "FILE", conflicts_with = "file", value_hint = clap::ValueHint::FilePath)]
    pub config: Option<PathBuf>,

    /// Check the file with this profile only.
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,

    /// Exit with 1 if there are warnings.
    #[arg(long)]
    pub deny_warnings: bool,

    /// How to print the findings.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: LintFormat,
}

/// How findings are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LintFormat {
    /// As people read them, each with the lines that it is about.
    Table,
    /// One JSON document.
    Json,
    /// SARIF 2.1.0, for code hosts and editors.
    Sarif,
}

/// Arguments of `config show`.
#[derive(Clone, Debug, clap::Args)]
pub struct ShowArgs {
    /// The config file; - for standard input. Without it the usual places are looked at.
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub file: Option<PathBuf>,

    /// The config file, named as `serve` has it.
    #[arg(short, long, value_name = "FILE", conflicts_with = "file", value_hint = clap::ValueHint::FilePath)]
    pub config: Option<PathBuf>,

    /// Apply this profile.
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,

    /// Say of each value where it comes from: file and line, profile, environment variable or default.
    #[arg(long)]
    pub origin: bool,

    /// How to print it; a table means TOML.
    #[command(flatten)]
    pub output: OutputArgs,
}

const INIT_EXAMPLES: &str = "\
Examples:
  proxy-stone config init
  proxy-stone config init /etc/proxy-stone/proxy-stone.toml

Exit codes:
  0 ok    2 usage    9 the file is there already, or cannot be written";

const LINT_EXAMPLES: &str = "\
Examples:
  proxy-stone config lint
  proxy-stone config lint proxy-stone.toml --deny-warnings
  proxy-stone config lint -o sarif > findings.sarif

Exit codes:
  0 no errors    1 warnings under --deny-warnings    2 usage    3 errors    4 no config file";

const SHOW_EXAMPLES: &str = "\
Examples:
  proxy-stone config show
  proxy-stone config show --origin --profile ci
  proxy-stone config show -o csv --columns path,value,origin

Exit codes:
  0 ok    2 usage    3 the config has errors    4 no config file";

const SCHEMA_EXAMPLES: &str = "\
Examples:
  proxy-stone config schema > proxy-stone.schema.json

Exit codes:
  0 ok";

const VALUES: &[Column] =
    &[Column::new("path", Kind::Text), Column::new("value", Kind::Text), Column::new("origin", Kind::Text)];

/// Runs a command about the config file.
pub fn run(args: &Args, global: &Global) -> Outcome {
    match &args.command {
        Command::Init(args) => init(args, global),
        Command::Lint(args) => lint(args, global),
        Command::Show(args) => show(args, global),
        Command::Schema => print(&config::schema::text()),
    }
}

fn print(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(Exit::Ok)
}

fn init(args: &InitArgs, global: &Global) -> Outcome {
    let text = config::init::starter();
    if args.file == Path::new("-") {
        return print(&text);
    }
    let shown = args.file.display();
    write_new(&args.file, &text, args.force).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::new(Exit::Machine, format!("{shown} is there already"))
            .next(format!("proxy-stone config lint {shown}, or --force to write over it")),
        _ => Failure::new(Exit::Machine, format!("{shown} cannot be written")).why(error),
    })?;
    if !global.quiet {
        eprintln!("wrote {shown}; set `upstream` in it, then: proxy-stone serve -c {shown}");
    }
    Ok(Exit::Ok)
}

/// Writes a file that is not there; with `force` also over one that is, which is whole at every moment.
fn write_new(path: &Path, text: &str, force: bool) -> io::Result<()> {
    if !force {
        return std::fs::File::create_new(path)?.write_all(text.as_bytes());
    }
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    let written = std::fs::File::create_new(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        // What is left of the attempt helps nobody; the first error is the one to tell.
        let _ = std::fs::remove_file(&beside);
    }
    written
}

fn source(file: Option<&Path>) -> Result<Source, Failure> {
    match file {
        Some(path) if path == Path::new("-") => {
            let mut text = String::new();
            io::stdin().take(config::load::LARGEST).read_to_string(&mut text)?;
            Ok(Source::Text { name: "<stdin>".into(), text })
        }
        Some(path) => Ok(Source::File(path.to_owned())),
        None => config::find_file().map(Source::File).ok_or_else(|| {
            let places: Vec<_> =
                config::place::places().iter().map(|path| path.display().to_string()).collect();
            Failure::new(Exit::NotFound, "there is no config file")
                .why(format!("looked at {}", places.join(", ")))
                .next("proxy-stone config init")
        }),
    }
}

fn name_of(source: &Source) -> String {
    match source {
        Source::File(path) => path.display().to_string(),
        Source::Text { name, .. } | Source::Url(name) => name.clone(),
    }
}

fn lint(args: &LintArgs, global: &Global) -> Outcome {
    let source = source(args.file.as_deref().or(args.config.as_deref()))?;
    let mut loaded = config::lint(&source, args.profile.as_deref());
    let unbindable = check_addresses(&loaded, global);
    loaded.findings.extend(unbindable);
    sort(&mut loaded.findings);
    let findings = &loaded.findings;
    let (errors, warnings) = count(findings);
    match args.output {
        LintFormat::Table => print_findings(findings)?,
        LintFormat::Json => {
            let reports: Vec<_> = findings.iter().map(Finding::report).collect();
            let document = json!({
                "version": output::JSON_VERSION,
                "file": name_of(&source),
                "errors": errors,
                "warnings": warnings,
                "findings": reports,
            });
            print(&format!("{document:#}\n"))?;
        }
        LintFormat::Sarif => {
            print(&format!("{:#}\n", config::sarif::document(findings)))?;
        }
    }
    if !global.quiet {
        eprintln!("{}: {}", name_of(&source), summary(errors, warnings));
    }
    Ok(match (errors, warnings) {
        (1.., _) => Exit::Config,
        (0, 1..) if args.deny_warnings => Exit::Negative,
        _ => Exit::Ok,
    })
}

fn print_findings(findings: &[Finding]) -> Result<(), Failure> {
    // anstream drops the colours where the terminal or the user wants none.
    let mut out = anstream::AutoStream::auto(io::stdout().lock());
    for finding in findings {
        writeln!(out, "{}\n", finding.render(true))?;
    }
    out.flush()?;
    Ok(())
}

fn summary(errors: usize, warnings: usize) -> String {
    let several = |number: usize, word: &str| match number {
        1 => format!("1 {word}"),
        _ => format!("{number} {word}s"),
    };
    match (errors, warnings) {
        (0, 0) => "no findings".into(),
        (0, _) => several(warnings, "warning"),
        (_, 0) => several(errors, "error"),
        _ => format!("{}, {}", several(errors, "error"), several(warnings, "warning")),
    }
}

/// Tries every address; what our own running instance holds is no finding.
fn check_addresses(loaded: &Loaded, global: &Global) -> Vec<Finding> {
    let Some(compiled) = &loaded.compiled else { return Vec::new() };
    let probe = |settings: &ListenerSettings| {
        listener::bind(std::slice::from_ref(settings), 1).map(drop).map_err(|error| error.source)
    };
    let listeners = &compiled.listeners;
    let telemetry = compiled.telemetry.listen;
    let findings = unbindable(&loaded.tree, listeners, telemetry, &probe);
    if findings.is_empty() {
        return findings;
    }
    let held = held(global);
    let is_held = |address: &ListenAddress| match address.tcp() {
        // Whatever address of this machine it is held on.
        Some(at) => held.iter().any(|held| held.tcp().is_some_and(|held| held.port() == at.port())),
        None => held.contains(address),
    };
    let unless_ours = |settings: &ListenerSettings| match probe(settings) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_held(&settings.address) => Ok(()),
        other => other,
    };
    unbindable(&loaded.tree, listeners, telemetry, &unless_ours)
}

/// Where the running instance listens; nowhere where there is no instance.
fn held(global: &Global) -> Vec<ListenAddress> {
    let status = || -> Result<Status, Failure> {
        let client = instance::client(global)?;
        instance::block_on(async { Ok(client.get(path::STATUS, &()).await?) })
    };
    let listeners = status().map(|status| status.listeners).unwrap_or_default();
    let parsed = listeners.iter().map(|listener| ListenOn::parse(&listener.address));
    parsed.filter_map(Result::ok).map(|on| on.0).collect()
}

fn show(args: &ShowArgs, global: &Global) -> Outcome {
    let source = source(args.file.as_deref().or(args.config.as_deref()))?;
    let loaded = config::load(&source, args.profile.as_deref(), &Overrides::default());
    if loaded.compiled.is_none() {
        let color = io::stderr().is_terminal();
        let rendered: Vec<_> = loaded.findings.iter().map(|finding| finding.render(color)).collect();
        let (errors, warnings) = count(&loaded.findings);
        return Err(Failure::new(
            Exit::Config,
            format!("{} has {}", name_of(&source), summary(errors, warnings)),
        )
        .details(rendered.join("\n\n")));
    }
    let plain = args.output.columns.is_empty() && args.output.sort_by.is_none();
    if args.output.output == Format::Table && plain {
        return print(&config::show::show(&loaded.tree, args.origin));
    }
    let values = config::show::values(&loaded.tree);
    let rows = values
        .into_iter()
        .map(|(path, value, origin)| json!({"path": path, "value": value, "origin": origin}));
    output::all(VALUES, &args.output, global, &rows.collect::<Vec<_>>())?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_over_only_when_told_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        write_new(&path, "a", false).unwrap();
        assert_eq!(write_new(&path, "b", false).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a");
        write_new(&path, "b", true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "b");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_summary_counts() {
        assert_eq!(summary(0, 0), "no findings");
        assert_eq!(summary(1, 2), "1 error, 2 warnings");
        assert_eq!(summary(0, 1), "1 warning");
    }
}

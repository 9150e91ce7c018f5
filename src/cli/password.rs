//! `proxy-stone password`

use std::io::{self, BufRead, IsTerminal, Read, Write};

use clap::Subcommand;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::exit::{Exit, Failure, Outcome};
use super::{Global, output};
use crate::auth::basic::Hash;
use crate::config::scalar::Scalar;
use crate::config::users::UserName;

/// The longest password, in bytes.
const MAX_LENGTH: u64 = 1024;

/// Make hashes of passwords for `basic_auth`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands about passwords.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Read a password, and print its hash.
    ///
    /// On a terminal it is asked for twice, and not shown; else it is the first line of standard input. It is never an argument,
    /// which others on this machine could read.
    #[command(after_long_help = EXAMPLES)]
    Hash(HashArgs),
}

/// Arguments of `password hash`.
#[derive(Clone, Debug, clap::Args)]
pub struct HashArgs {
    /// A user's name: prints a line of a file of users.
    #[arg(value_name = "USER")]
    pub user: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  proxy-stone password hash
  proxy-stone password hash alice >> users.txt
  pass show api/alice | proxy-stone password hash alice

In proxy-stone.toml:
  basic_auth = { users = { alice = '$argon2id$...' } }
  basic_auth = { file = \"users.txt\" }

Exit codes:
  0 ok    2 usage    9 the password cannot be read";

/// Runs a command about passwords.
pub fn run(args: &Args, _: &Global) -> Outcome {
    match &args.command {
        Command::Hash(args) => hash(args),
    }
}

fn hash(args: &HashArgs) -> Outcome {
    if let Some(user) = &args.user
        && let Err(problem) = UserName::parse(user)
    {
        let failure = Failure::new(Exit::Usage, problem.message);
        return Err(problem.help.into_iter().fold(failure, Failure::next));
    }
    let password = read()?;
    if password.is_empty() || password.iter().any(u8::is_ascii_control) {
        let what =
            if password.is_empty() { "the password is empty" } else { "the password has control characters" };
        return Err(Failure::new(Exit::Usage, what).next("give another one"));
    }
    let made = Hash::make(&password).map_err(|why| Failure::new(Exit::Machine, why))?;
    let line = match &args.user {
        Some(user) => format!("{user}:{made}"),
        None => made,
    };
    output::lines(&[line])?;
    Ok(Exit::Ok)
}

fn read() -> Result<Vec<u8>, Failure> {
    let unreadable = |error: io::Error| Failure::new(Exit::Machine, format!("no password was read: {error}"));
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return line(&mut stdin.lock()).map_err(unreadable);
    }
    let quiet = Quiet::new().map_err(unreadable)?;
    let first = asked("Password: ").map_err(unreadable)?;
    let again = asked("Again: ").map_err(unreadable)?;
    drop(quiet);
    if first != again {
        return Err(Failure::new(Exit::Usage, "the two are not the same").next("type it again"));
    }
    Ok(first)
}

fn asked(prompt: &str) -> io::Result<Vec<u8>> {
    let mut told = io::stderr();
    told.write_all(prompt.as_bytes())?;
    told.flush()?;
    let line = line(&mut io::stdin().lock());
    told.write_all(b"\n")?;
    line
}

/// The first line, without its end.
fn line(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    from.take(MAX_LENGTH + 2).read_until(b'\n', &mut line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    match u64::try_from(line.len()) {
        Ok(length) if length <= MAX_LENGTH => Ok(line),
        _ => Err(io::Error::other("it is longer than 1024 bytes")),
    }
}

/// A terminal that does not show what is typed, for as long as this lives.
struct Quiet(Termios);

impl Quiet {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_line() {
        for (given, read) in [
            ("secret\n", &b"secret"[..]),
            ("secret\r\nmore\n", b"secret"),
            (" a b ", b" a b "),
            ("", b""),
            ("\n", b""),
        ] {
            assert_eq!(line(&mut given.as_bytes()).unwrap(), read, "{given:?}");
        }
        assert!(line(&mut "x".repeat(1025).as_bytes()).is_err());
        assert!(line(&mut "x".repeat(1024).as_bytes()).is_ok());
    }
}

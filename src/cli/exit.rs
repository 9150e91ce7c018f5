//! How a command ends: the exit code, and for a failure what failed, why, and what to type next.

use std::io;
use std::process::ExitCode;

use anstream::eprintln;
use anstyle::{AnsiColor, Style};

/// The exit codes, the same for every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It worked.
    Ok = 0,
    /// It worked, and the answer is no: no route matches, warnings under `--deny-warnings`.
    Negative = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The config has errors.
    Config = 3,
    /// What was asked for isn't there.
    NotFound = 4,
    /// No instance answers on the admin socket.
    NotRunning = 5,
    /// The admin socket refuses this user.
    Denied = 6,
    /// No answer in time.
    TimedOut = 7,
    /// Some of it was done.
    Partly = 8,
    /// The machine says no: port taken, disk full, no permission.
    Machine = 9,
    /// Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What a command hands back.
pub type Outcome = Result<Exit, Failure>;

/// A command that failed: each part is one sentence without a final full stop.
#[derive(Debug)]
pub struct Failure {
    /// The code to exit with.
    pub exit: Exit,
    /// What failed.
    pub what: String,
    /// Why, where more is known than `what` says.
    pub why: Option<String>,
    /// The next command to type, or the next thing to do.
    pub next: Option<String>,
    /// Text to print as it is before the error line, such as rendered findings.
    pub details: Option<String>,
}

impl Failure {
    /// A failure of which only this is known.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), why: None, next: None, details: None }
    }

    /// Adds why it failed.
    pub fn why(mut self, why: impl ToString) -> Self {
        self.why = Some(why.to_string());
        self
    }

    /// Adds what to try next.
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Adds text that is printed as it is, before the error line.
    pub fn details(mut self, details: impl Into<String>) -> Self {
        self.details = Some(details.into());
        self
    }

    /// Prints the failure on standard error. A reader that went away is no failure and prints nothing.
    pub fn print(&self) {
        if self.exit == Exit::Ok {
            return;
        }
        let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
        let bold = Style::new().bold();
        if let Some(details) = &self.details {
            eprintln!("{}", details.trim_end());
        }
        eprintln!("{red}error{red:#}: {}", self.what);
        if let Some(why) = &self.why {
            eprintln!("  {bold}why{bold:#}: {why}");
        }
        if let Some(next) = &self.next {
            eprintln!("  {bold}try{bold:#}: {next}");
        }
    }
}

/// Writing the result failed. A closed pipe (`| head`) is a quiet success.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(Exit::Ok, "");
        }
        Self::new(Exit::Machine, "the result could not be written").why(error)
    }
}

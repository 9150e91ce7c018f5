//! Reaches the running instance, and says what to do when there is none.

use std::future::Future;

use super::Global;
use super::exit::{Exit, Failure};
use crate::admin::api::{Problem, ProblemCode};
use crate::admin::client::Error;
use crate::admin::{Client, paths};

/// A client of the instance that the options name.
pub fn client(global: &Global) -> Result<Client, Failure> {
    let socket = paths::socket(global.socket.as_deref(), &global.instance)
        .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    Ok(Client::new(&socket, global.patience())?)
}

/// Runs one command's requests.
pub fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::new(Exit::Machine, "the system gives this command no event loop").why(error)
    })?;
    runtime.block_on(work)
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let what = error.to_string();
        match error {
            Error::NotRunning(_) | Error::Stale(_) => {
                Failure::new(Exit::NotRunning, "no instance is running")
                    .why(what.trim_start_matches("no instance is running: "))
                    .next("proxy-stone serve URL, or name the instance with --instance or --socket")
            }
            Error::Denied { why, socket } => {
                Failure::new(Exit::Denied, format!("{} refuses this user", socket.display()))
                    .why(why)
                    .next("run this command as the user that runs the instance, or as root")
            }
            Error::TimedOut(_) => {
                Failure::new(Exit::TimedOut, what).next("the same command with a longer --timeout")
            }
            Error::Version { .. } => Failure::new(Exit::NotRunning, what)
                .next("use the proxy-stone binary that the instance was started from"),
            Error::Broken(_) => Failure::new(Exit::NotRunning, what).next("proxy-stone status"),
            Error::Problem(problem) => refused(*problem),
        }
    }
}

/// What the instance's own refusal means for the exit code.
pub(super) fn refused(problem: Problem) -> Failure {
    let exit = match problem.code {
        ProblemCode::BadRequest | ProblemCode::MethodNotAllowed => Exit::Usage,
        ProblemCode::Denied => Exit::Denied,
        ProblemCode::NotFound => Exit::NotFound,
        ProblemCode::Config => Exit::Config,
        ProblemCode::TimedOut => Exit::TimedOut,
        ProblemCode::Unavailable | ProblemCode::Machine | ProblemCode::Other => Exit::Machine,
    };
    Failure { exit, what: problem.title, why: problem.detail, next: problem.help, details: problem.rendered }
}

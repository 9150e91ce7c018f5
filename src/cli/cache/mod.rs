//! `proxy-stone cache`

mod explain;
mod explained;
mod ls;
mod purge;
mod select;
mod show;
mod stats;

use clap::Subcommand;

use super::Global;
use super::exit::Outcome;

/// See and purge what is stored.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands about stored responses.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// List stored responses.
    #[command(visible_alias = "list", after_long_help = ls::EXAMPLES)]
    Ls(ls::Args),
    /// Show one stored response: freshness, fields, tags.
    #[command(after_long_help = show::EXAMPLES)]
    Show(show::Args),
    /// Say what would happen to a request, and why.
    ///
    /// Nothing is fetched and nothing changes. Told are the route that takes the request, its key part by part, what
    /// is stored under it and on whose word, how old and how fresh that is, and what would happen now. Where nothing
    /// is stored, the nearest stored keys are shown with the parts in which they differ; of parts that may be secret
    /// only that they differ.
    ///
    /// --expect is for scripts: `miss` is met whenever the origin would be asked, also to validate.
    #[command(
        after_long_help = explain::EXAMPLES,
        override_usage = "proxy-stone cache explain [OPTIONS] [METHOD] <URL>"
    )]
    Explain(explain::Args),
    /// Remove stored responses, or mark them as stale.
    ///
    /// A purge holds from the moment it is answered, also across a crash, and what is being fetched meanwhile
    /// cannot bring back what it took.
    #[command(after_long_help = purge::EXAMPLES)]
    Purge(purge::Args),
    /// Show the store's size, limits and counters.
    #[command(after_long_help = stats::EXAMPLES)]
    Stats(stats::Args),
}

/// Runs a command about stored responses.
pub fn run(args: &Args, global: &Global) -> Outcome {
    match &args.command {
        Command::Ls(args) => ls::run(args, global),
        Command::Show(args) => show::run(args, global),
        Command::Explain(args) => explain::run(args, global),
        Command::Purge(args) => purge::run(args, global),
        Command::Stats(args) => stats::run(args, global),
    }
}

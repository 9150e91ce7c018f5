//! `proxy-stone cache`

mod explain;
mod explained;
mod gc;
mod inspection;
mod ls;
mod pace;
mod purge;
mod purge_batch;
mod refresh;
mod select;
mod show;
mod simulate;
mod sitemap;
mod stats;
pub(in crate::cli) mod urls;
mod verify;
mod warm;

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
        override_usage = "proxy-stone cache explain [OPTIONS] [METHOD] <URL>\n       proxy-stone cache explain [OPTIONS] --request <ID>"
    )]
    Explain(explain::Args),
    /// Remove stored responses, or mark them as stale.
    ///
    /// A purge holds from the moment it is answered, also across a crash, and what is being fetched meanwhile
    /// cannot bring back what it took.
    ///
    /// A URL is written as clients write it, whatever its route leaves out of the key; http and https are the same here.
    /// --prefix, --glob and --host are held against what is stored, as `cache ls` lists it: without the parameters that a
    /// route leaves out, and under the host * where its hosts share replies.
    #[command(after_long_help = purge::EXAMPLES)]
    Purge(purge::Args),
    /// Ask the origin anew for stored responses, with conditions where they have a validator.
    ///
    /// What is stored is replaced only by what the origin says now. Of an entry only hashes of the request fields in
    /// its key or Vary are kept: such entries are refreshed with the fields that -H gives, or skipped.
    #[command(after_long_help = refresh::EXAMPLES)]
    Refresh(refresh::Args),
    /// Request URLs of the running instance itself, so that they are stored before clients ask.
    ///
    /// The requests go the way of clients' requests, and are keyed as theirs are; in logs their protocol is
    /// "internal". What is fresh already is only a hit.
    #[command(after_long_help = warm::EXAMPLES)]
    Warm(warm::Args),
    /// Replay an access log under another config, and compare.
    ///
    /// Without a server and without the network: the log's requests go through the config's routes, key rules, policy
    /// and eviction, with the log's own times for a clock. Printed are hit ratio, byte hit ratio and what the origin has
    /// to answer, beside what the log says of today. What a log does not hold (the values of request fields, whether
    /// a reply had changed, which background refreshes there were) is supposed, and each supposition is counted. The
    /// JSON form of the access log holds what is needed; the text form has no caching fields, so that only the
    /// config's own lifetimes count for it. About 1 KiB of memory is taken for each stored reply.
    #[command(after_long_help = simulate::EXAMPLES)]
    Simulate(simulate::Args),
    /// Show the store's size, limits and counters.
    #[command(after_long_help = stats::EXAMPLES)]
    Stats(stats::Args),
    /// Check every stored record and body against its checksum.
    ///
    /// The running instance reads them at low priority, and goes on serving and storing. It also looks whether
    /// everything that is stored can be found and nothing else is there.
    #[command(after_long_help = verify::EXAMPLES)]
    Verify(verify::Args),
    /// Remove what is of no more use: expired entries, orphans, finished purge rules.
    ///
    /// The instance does most of this by itself, now and then; this does all of it, and now. The index reuses what
    /// is freed in its own files, and hardly gives it back to the file system; body files are deleted.
    #[command(after_long_help = gc::EXAMPLES)]
    Gc(gc::Args),
}

/// Runs a command about stored responses.
pub fn run(args: &Args, global: &Global) -> Outcome {
    match &args.command {
        Command::Ls(args) => ls::run(args, global),
        Command::Show(args) => show::run(args, global),
        Command::Explain(args) => explain::run(args, global),
        Command::Purge(args) => purge::run(args, global),
        Command::Refresh(args) => refresh::run(args, global),
        Command::Warm(args) => warm::run(args, global),
        Command::Simulate(args) => simulate::run(args, global),
        Command::Stats(args) => stats::run(args, global),
        Command::Verify(args) => verify::run(args, global),
        Command::Gc(args) => gc::run(args, global),
    }
}

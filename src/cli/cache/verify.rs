//! `proxy-stone cache verify`

use anstream::eprintln;

use super::inspection;
use crate::admin::api::{Verify, path};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::output::{Column, Kind, OutputArgs, Printer, human};
use crate::cli::{Global, instance, values};

/// Arguments of `cache verify`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Remove what is damaged, so that the origin is asked again, and put the indexes right.
    #[arg(long)]
    pub repair: bool,

    /// Read at most so many bytes a second, such as 50MiB.
    #[arg(long, value_name = "BYTES", value_parser = values::bytes)]
    pub rate: Option<u64>,

    /// How to print what is wrong.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub const EXAMPLES: &str = "\
Examples:
  proxy-stone cache verify
  proxy-stone cache verify --rate 50MiB -o ndjson
  proxy-stone cache verify --repair

Exit codes:
  0 nothing is wrong    1 something was found (also where --repair put it right)
  2 usage    5 no running instance    9 the store is closed, or being looked through";

const COLUMNS: &[Column] = &[
    Column::new("fault", Kind::Text),
    Column::new("repaired", Kind::Text),
    Column::new("key", Kind::Text),
    Column::new("variant", Kind::Text).wide(),
    Column::new("body_hash", Kind::Text).wide(),
    Column::new("url", Kind::Text),
    Column::new("message", Kind::Text).wide(),
];

/// Has the instance look through its store, and prints what is wrong as it is found.
pub fn run(args: &Args, global: &Global) -> Outcome {
    let mut printer = Printer::new(COLUMNS, &args.output, global)?;
    let client = instance::client(global)?;
    instance::block_on(async {
        let asked = Verify { repair: args.repair, rate: args.rate };
        let lines = client.work(path::CACHE_VERIFY, &asked).await?;
        let (mut found, mut repaired) = (0_u64, 0_u64);
        let mut push = |fault: crate::admin::api::StoreFault| -> Result<(), Failure> {
            found += 1;
            repaired += u64::from(fault.repaired);
            printer.push(&fault)
        };
        let (progress, _) = inspection::follow(lines, "verifying", global.quiet, &mut push).await?;
        printer.finish()?;
        if !global.quiet {
            let counted = |count, one, many| format!("{count} {}", if count == 1 { one } else { many });
            eprintln!(
                "{}, {} in files, {} read: {}",
                counted(progress.entries, "entry", "entries"),
                counted(progress.bodies, "body", "bodies"),
                human::bytes(progress.bytes as f64),
                verdict(found, repaired, args.repair),
            );
        }
        Ok(if found > 0 { Exit::Negative } else { Exit::Ok })
    })
}

fn verdict(found: u64, repaired: u64, repair: bool) -> String {
    match (found, repair) {
        (0, _) => "nothing is wrong".to_owned(),
        (_, true) => format!("{found} wrong, {repaired} put right"),
        (_, false) => format!("{found} wrong; --repair puts it right"),
    }
}

//! `proxy-stone status`

use super::exit::{Exit, Outcome};
use super::output::{self, Column, Kind, OneArgs};
use super::{Global, instance};
use crate::admin::api::{Status, path};

/// Show how the running instance is doing.
///
/// Exits with 1 if the instance runs but is not ready for clients.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// How to print it.
    #[command(flatten)]
    pub output: OneArgs,
}

const EXAMPLES: &str = "\
Examples:
  proxy-stone status
  proxy-stone status -o json | jq '.items[0].connections'

Exit codes:
  0 ready    1 running, but not ready    5 no running instance";

const COLUMNS: &[Column] = &[
    Column::new("instance", Kind::Text),
    Column::new("state", Kind::Text),
    Column::new("ready", Kind::Text),
    Column::new("not_ready", Kind::Text),
    Column::new("version", Kind::Text),
    Column::new("pid", Kind::Number),
    Column::new("predecessor", Kind::Number),
    Column::new("uptime", Kind::Seconds).at("/uptime_s"),
    Column::new("config", Kind::Text),
    Column::new("profile", Kind::Text),
    Column::new("mode", Kind::Text),
    Column::new("reload_error", Kind::Text),
    Column::new("config_loaded", Kind::Time).at("/config_loaded_ms"),
    Column::new("generation", Kind::Number).wide(),
    Column::new("listeners", Kind::List).at("/addresses"),
    Column::new("workers", Kind::Number),
    Column::new("routes", Kind::Number),
    Column::new("upstreams", Kind::Number),
    Column::new("connections", Kind::Number).at("/connections/open"),
    Column::new("in_flight", Kind::Number).at("/connections/in_flight"),
    Column::new("finished", Kind::Number).at("/connections/finished"),
    Column::new("tunnels", Kind::Number).at("/connections/tunnels"),
    Column::new("store", Kind::Text).at("/store/state"),
    Column::new("store_detail", Kind::Text).at("/store/detail"),
    Column::new("entries", Kind::Number).at("/store/entries"),
    Column::new("in_memory", Kind::Bytes).at("/store/memory_bytes"),
    Column::new("on_disk", Kind::Bytes).at("/store/disk_bytes"),
    Column::new("resident", Kind::Bytes).at("/memory"),
    Column::new("state_dir", Kind::Text),
    Column::new("socket", Kind::Text),
    Column::new("started", Kind::Time).at("/started_ms").wide(),
];

/// Asks for the status and prints it.
pub fn run(args: &Args, global: &Global) -> Outcome {
    let client = instance::client(global)?;
    let status: Status = instance::block_on(async { Ok(client.get(path::STATUS, &()).await?) })?;
    let ready = status.ready;
    let addresses: Vec<String> = status
        .listeners
        .iter()
        .map(|listener| match listener.role.as_str() {
            "http" => listener.address.clone(),
            role => format!("{} ({role})", listener.address),
        })
        .collect();
    let mut status = serde_json::to_value(status).map_err(std::io::Error::other)?;
    // Only the table wants the listeners on one line; the JSON stays what the instance sent.
    if matches!(args.output.output, output::Format::Table | output::Format::Wide | output::Format::Csv)
        && let Some(map) = status.as_object_mut()
    {
        map.insert("addresses".to_owned(), addresses.into());
    }
    output::one(COLUMNS, &args.output, global, &status)?;
    Ok(if ready { Exit::Ok } else { Exit::Negative })
}

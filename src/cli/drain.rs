//! `proxy-stone drain`

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::exit::{Exit, Outcome};
use super::output::{self, Column, Format, Kind, OneArgs};
use super::{Global, instance, stop, values};
use crate::admin::Client;
use crate::admin::api::{Connections, Drain, Draining, State, Status, path};

/// Have clients and balancers go elsewhere, then stop the running instance.
///
/// From that moment on /readyz says 503, and every reply that its connection closes (HTTP/2: GOAWAY). Whoever comes
/// nevertheless is answered, for as long as the config's drain_delay, or --delay, says: time for balancers to notice.
/// What follows is what `stop` and SIGTERM do at once: no new connections, idle ones are closed, WebSockets are told
/// (1001), and what is in flight may take as long as shutdown_grace, or --grace, says. The command returns when the
/// instance has ended.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// How long it goes on accepting.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub delay: Option<Duration>,

    /// How long what is in flight may take after that.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub grace: Option<Duration>,

    /// Return at once instead of waiting for the end.
    #[arg(long)]
    pub no_wait: bool,

    /// Take a drain back, as long as the instance still accepts.
    #[arg(long, conflicts_with_all = ["delay", "grace", "no_wait"])]
    pub cancel: bool,

    /// How to print it.
    #[command(flatten)]
    pub output: OneArgs,
}

const EXAMPLES: &str = "\
Examples:
  proxy-stone drain
  proxy-stone drain --delay 15s --grace 2m
  proxy-stone drain --no-wait && proxy-stone drain --cancel

Exit codes:
  0 ended, or with --cancel: ready again    4 there is no drain to take back
  5 no running instance                     7 still running when --timeout was over";

const COLUMNS: &[Column] = &[
    Column::new("outcome", Kind::Text),
    Column::new("pid", Kind::Number),
    Column::new("delay", Kind::Seconds).at("/delay_s"),
    Column::new("grace", Kind::Seconds).at("/grace_s"),
    Column::new("took", Kind::Seconds).at("/took_s"),
    Column::new("connections", Kind::Number).at("/connections/open"),
    Column::new("in_flight", Kind::Number).at("/connections/in_flight"),
    Column::new("tunnels", Kind::Number).at("/connections/tunnels"),
];

/// How it went.
#[derive(Debug, Serialize)]
struct Report {
    /// `ended`, `draining` (nobody waited), `serving` (taken back).
    outcome: &'static str,
    pid: u32,
    delay_s: f64,
    grace_s: f64,
    took_s: f64,
    /// As they were when it began.
    connections: Connections,
}

/// Asks the instance to drain and waits for its end.
pub fn run(args: &Args, global: &Global) -> Outcome {
    let client = instance::client(global)?;
    let began = Instant::now();
    let (draining, outcome) = instance::block_on(async {
        if args.cancel {
            return Ok((client.post::<Draining>(path::DRAIN_CANCEL, &()).await?, "serving"));
        }
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let asked = Drain { delay_ms: args.delay.map(millis), grace_ms: args.grace.map(millis) };
        let draining: Draining = client.post(path::DRAIN, &asked).await?;
        if args.no_wait {
            return Ok((draining, "draining"));
        }
        wait(&client, &draining, global).await?;
        Ok((draining, "ended"))
    })?;
    let seconds = |millis: u64| Duration::from_millis(millis).as_secs_f64();
    let report = Report {
        outcome,
        pid: draining.pid,
        delay_s: seconds(draining.delay_ms),
        grace_s: seconds(draining.grace_ms),
        took_s: began.elapsed().as_secs_f64(),
        connections: draining.connections,
    };
    if args.output.output != Format::Table || !args.output.columns.is_empty() {
        output::one(COLUMNS, &args.output, global, &report)?;
    } else if !global.quiet || outcome != "ended" {
        output::lines(&[say(&report)])?;
    }
    Ok(Exit::Ok)
}

fn say(report: &Report) -> String {
    let pid = report.pid;
    match report.outcome {
        "ended" => format!("drained and stopped: process {pid}"),
        "draining" => format!("draining: process {pid} accepts for {} s more", report.delay_s),
        _ => format!("ready again: process {pid}"),
    }
}

async fn wait(client: &Client, draining: &Draining, global: &Global) -> Result<(), super::exit::Failure> {
    let most = Duration::from_millis(draining.delay_ms.saturating_add(draining.grace_ms));
    let limit = global.timeout.unwrap_or_else(|| most.saturating_add(stop::BEYOND_GRACE));
    let bar = progress(global.quiet);
    let show = |status: &Status| {
        let Connections { open, in_flight, tunnels, .. } = status.connections;
        let step = if status.state == State::Draining { "still accepting" } else { "waiting" };
        bar.set_message(format!("{step}: {in_flight} exchanges, {tunnels} tunnels, {open} connections"));
    };
    stop::wait(client, limit, draining.pid, &bar, show).await
}

/// Progress on standard error, on a terminal only.
fn progress(quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} draining for {elapsed}, {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

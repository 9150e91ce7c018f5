//! `proxy-stone stop`

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::exit::{Exit, Failure, Outcome};
use super::{Global, instance, output, values};
use crate::admin::Client;
use crate::admin::api::{Status, Stop, Stopping, path};
use crate::admin::client::Error;

/// Stop the running instance once what is in flight has finished.
///
/// It takes no new connections from that moment on; `drain` has clients and balancers go elsewhere first. Exchanges that are in flight may take as long as the config's
/// shutdown_grace, or --grace, says. The command returns when the instance has ended.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// How long what is in flight may take; 0: end at once.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub grace: Option<Duration>,

    /// Return at once instead of waiting for the end.
    #[arg(long)]
    pub no_wait: bool,
}

const EXAMPLES: &str = "\
Examples:
  proxy-stone stop
  proxy-stone stop --grace 5s
  proxy-stone stop --grace 0

Exit codes:
  0 stopped    5 no running instance    7 still running when --timeout was over";

/// How often the instance is asked whether it is still there.
const POLL: Duration = Duration::from_millis(50);

/// How long the end may take beyond the grace: closing the store, mostly.
pub(super) const BEYOND_GRACE: Duration = Duration::from_secs(30);

/// The longest default wait where the config's own grace counts.
const DEFAULT_WAIT: Duration = Duration::from_secs(3600);

/// Asks the instance to stop and waits for its end.
pub fn run(args: &Args, global: &Global) -> Outcome {
    let client = instance::client(global)?;
    instance::block_on(async {
        let stop =
            Stop { grace_ms: args.grace.map(|grace| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX)) };
        let stopping: Stopping = client.post(path::STOP, &stop).await?;
        if args.no_wait {
            output::lines(&[format!("stopping: process {}", stopping.pid)])?;
            return Ok(Exit::Ok);
        }
        let limit = match (global.timeout, args.grace) {
            (Some(timeout), _) => timeout,
            (None, Some(grace)) => grace.saturating_add(BEYOND_GRACE),
            (None, None) => DEFAULT_WAIT,
        };
        let bar = progress(stopping.in_flight, global.quiet);
        let show = |status: &Status| {
            bar.set_position(stopping.in_flight.saturating_sub(status.connections.in_flight));
        };
        wait(&client, limit, stopping.pid, &bar, show).await?;
        if !global.quiet {
            output::lines(&[format!("stopped: process {}", stopping.pid)])?;
        }
        Ok(Exit::Ok)
    })
}

/// Waits until the process has gone: the socket goes first, and the store closes after that.
pub(super) async fn wait(
    client: &Client,
    limit: Duration,
    pid: u32,
    bar: &ProgressBar,
    show: impl Fn(&Status),
) -> Result<(), Failure> {
    let began = Instant::now();
    let mut socket_gone = false;
    loop {
        if !socket_gone {
            match client.get::<Status>(path::STATUS, &()).await {
                // Another has taken the socket over.
                Ok(status) if status.pid != pid => socket_gone = true,
                Ok(status) => show(&status),
                Err(Error::NotRunning(_) | Error::Stale(_)) => {
                    socket_gone = true;
                    bar.set_message("closing the store");
                }
                // Its last answers may be cut off.
                Err(Error::Broken(_) | Error::TimedOut(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if socket_gone && !is_alive(pid) {
            bar.finish_and_clear();
            return Ok(());
        }
        if began.elapsed() >= limit {
            bar.finish_and_clear();
            return Err(Failure::new(Exit::TimedOut, format!("process {pid} is still running"))
                .why(format!("it was given {limit:?}"))
                .next("proxy-stone stop --grace 0"));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Progress on standard error, on a terminal only.
fn progress(in_flight: u64, quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let bar = ProgressBar::new(in_flight);
    let style = ProgressStyle::with_template("{spinner} stopping: {pos}/{len} exchanges finished {msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Whether a process is there and has not ended: signal 0 asks without doing anything, and reaches also one that has
/// ended but that nobody has reaped, such as the child of a container's first process.
fn is_alive(pid: u32) -> bool {
    if is_zombie(pid) {
        return false;
    }
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    match pid.map(rustix::process::test_kill_process) {
        Some(Ok(()) | Err(rustix::io::Errno::PERM)) => true,
        Some(Err(_)) | None => false,
    }
}

/// Whether Linux says so; the state follows the last parenthesis, since a name may have some too.
fn is_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']))
}

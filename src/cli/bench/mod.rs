//! `proxy-stone bench`

mod progress;
mod summary;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anstream::eprintln;
use bytes::Bytes;
use http::Method;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

use super::cache::urls;
use super::exit::{Exit, Failure, Outcome};
use super::output::{self, Column, Format, Kind, OneArgs};
use super::{Global, instance, values};
use crate::bench::{self, Ended, Pace, Plan, Report, Target, TargetSettings, Threshold, Trust, Until};

/// Put a server under load and measure it.
///
/// Without --rate it runs a closed loop: every connection asks again as soon as it is answered. That finds the highest
/// rate, but a stall hides in it, since nobody asks meanwhile. With --rate requests are due at fixed times whatever
/// the server does, and latency counts from when a request was due, so that a stall is seen by all who would have
/// come during it. What timed out or was never sent counts with the time that it waited; what failed at once does
/// not count as fast. Before you believe the numbers read the notes below them: they say where this generator, and not
/// the server, was the limit.
///
/// --timeout bounds connecting, and then each reply. Ctrl-C ends early and prints what was measured by then.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// What to ask for; several URLs of one host are asked for in turn.
    #[arg(value_name = "URL", required_unless_present = "urls", value_hint = clap::ValueHint::Url)]
    pub url: Vec<String>,

    /// Ask for the URLs of this list in turn, one (or a JSON object with a "url") a line; - is standard input. A URL
    /// beside it gives all of them its scheme, host and port, which paths alone need.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub urls: Option<PathBuf>,

    /// How the load is made.
    #[command(flatten)]
    pub load: LoadArgs,

    /// What is asked.
    #[command(flatten)]
    pub request: RequestArgs,

    /// When the exit code is 1: 'p99>5ms', 'errors>0.1%', 'rps<1000'; may be given more than once.
    #[arg(long, value_name = "RULE", help_heading = "Output options")]
    pub fail_if: Vec<Threshold>,

    /// How to print it.
    #[command(flatten)]
    pub output: OneArgs,
}

/// How the load is made.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Load options")]
pub struct LoadArgs {
    /// Connections kept open.
    #[arg(short, long, value_name = "N", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=bench::MAX_WORKERS as i64))]
    pub connections: u32,

    /// Requests at a time on each connection, with --http2.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "http2",
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub streams: u32,

    /// Requests a second over all connections, at fixed times: an open loop.
    #[arg(short, long, value_name = "N", value_parser = rate)]
    pub rate: Option<f64>,

    /// Measure for this long.
    #[arg(short, long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub duration: Duration,

    /// Measure so many requests instead.
    #[arg(short = 'n', long, value_name = "N", conflicts_with = "duration",
          value_parser = clap::value_parser!(u64).range(1..=bench::MAX_REQUESTS))]
    pub requests: Option<u64>,

    /// Load for this long before measuring, so that caches and connections are warm.
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = duration)]
    pub warmup: Duration,

    /// Threads of the generator [default: half of the processors].
    #[arg(short, long, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=bench::MAX_THREADS as i64))]
    pub threads: Option<u32>,
}

/// What is asked.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Request options")]
pub struct RequestArgs {
    /// Speak HTTP/2: agreed on over TLS, without asking in cleartext.
    #[arg(long)]
    pub http2: bool,

    /// The method [default: GET, with --data POST].
    #[arg(short = 'X', long, value_name = "METHOD")]
    pub method: Option<Method>,

    /// A field of every request; may be given more than once. 'Connection: close' makes a connection for each.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = values::header)]
    pub headers: Vec<(String, String)>,

    /// The content of every request; @FILE reads a file, @- standard input.
    #[arg(long, value_name = "TEXT|@FILE")]
    pub data: Option<String>,

    /// Trust these authorities (PEM) instead of the system's.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub cacert: Option<PathBuf>,

    /// Trust whatever certificate the server has.
    #[arg(short = 'k', long, conflicts_with = "cacert")]
    pub insecure: bool,
}

const EXAMPLES: &str = "\
Examples:
  proxy-stone bench http://127.0.0.1:8080/plain
  proxy-stone bench http://127.0.0.1:8080/plain -c 64 -d 30s --warmup 5s
  proxy-stone bench http://127.0.0.1:8080/plain --rate 2000 --fail-if 'p99>5ms' --fail-if 'errors>0.1%'
  proxy-stone bench https://localhost:8443/ --http2 --streams 32 --cacert ca.pem
  proxy-stone bench http://127.0.0.1:8080/items -X PUT --data @item.json -n 1000
  proxy-stone cache ls -o ndjson | proxy-stone bench http://127.0.0.1:8080 --urls - -o json

Rules of --fail-if: a measure, one of > >= < <=, and a value. A rule that can't be judged fails.
  min, mean, max, p50, p99, p99.9 ...   latency: 250us, 5ms, 1.5s
  rps                                   whole replies a second: 1000
  errors                                no whole reply, or 5xx: 0.1% of the requests, or a count
  failures, 2xx, 3xx, 4xx, 5xx          no whole reply; replies of a class: likewise
  hits                                  cache hits: 95% of the replies with Cache-Status, or a count

Load only what is yours, or what you were asked to load.

Exit codes:
  0 ok    1 a rule of --fail-if    2 usage    4 no such host    7 connecting timed out
  9 nothing was answered, or a file can't be read    130 interrupted";

const COLUMNS: &[Column] = &[
    Column::new("url", Kind::Text),
    Column::new("requests", Kind::Number),
    Column::new("rate", Kind::Rate),
    Column::new("bytes_rate", Kind::Bytes),
    Column::new("errors", Kind::Number),
    Column::new("error_ratio", Kind::Percent),
    Column::new("hit_ratio", Kind::Percent).at("/cache/hit_ratio"),
    Column::new("mean", Kind::Micros).at("/latency/mean_us"),
    Column::new("p50", Kind::Micros).at("/latency/p50_us"),
    Column::new("p90", Kind::Micros).at("/latency/p90_us"),
    Column::new("p99", Kind::Micros).at("/latency/p99_us"),
    Column::new("p999", Kind::Micros).at("/latency/p999_us"),
    Column::new("max", Kind::Micros).at("/latency/max_us"),
    Column::new("min", Kind::Micros).at("/latency/min_us").wide(),
    Column::new("p75", Kind::Micros).at("/latency/p75_us").wide(),
    Column::new("p95", Kind::Micros).at("/latency/p95_us").wide(),
    Column::new("p9999", Kind::Micros).at("/latency/p9999_us").wide(),
    Column::new("seconds", Kind::Seconds).wide(),
    Column::new("protocol", Kind::Text).wide(),
    Column::new("loop", Kind::Text).wide(),
    Column::new("connections", Kind::Number).wide(),
    Column::new("streams", Kind::Number).wide(),
    Column::new("threads", Kind::Number).wide(),
    Column::new("wanted_rate", Kind::Rate).wide(),
    Column::new("sent_rate", Kind::Rate).wide(),
    Column::new("busy_ratio", Kind::Percent).at("/generator/busy_ratio").wide(),
    Column::new("lag_p99", Kind::Micros).at("/generator/lag_p99_us").wide(),
];

/// The most content that a request may have.
const MAX_CONTENT: u64 = 64 << 20;

/// Measures, and prints what was found.
pub fn run(args: &Args, global: &Global) -> Outcome {
    let plan = plan(args, global)?;
    let mut report = instance::block_on(measure(plan, global))?;
    let holds = report.judge(&args.fail_if);
    let summary = args.output.output == Format::Table && args.output.columns.is_empty();
    if summary {
        output::styled(&summary::lines(&report))?;
    } else {
        output::one(COLUMNS, &args.output, global, &report)?;
        for verdict in report.thresholds.iter().filter(|verdict| verdict.failed) {
            eprintln!("failed: {} (measured: {})", verdict.rule, verdict.shown);
        }
    }
    match report.ended {
        Ended::Interrupted => Ok(Exit::Interrupted),
        Ended::Whole if !holds => Ok(Exit::Negative),
        Ended::Whole if report.replies == 0 => Err(unanswered(&report)),
        Ended::Whole => Ok(Exit::Ok),
    }
}

fn unanswered(report: &Report) -> Failure {
    let failure = Failure::new(Exit::Machine, "no request was answered");
    // What was never sent is a consequence, not the cause.
    let cause = |row: &&bench::FailureRow| (row.kind != bench::Failure::Unsent.as_str(), row.count);
    match report.failures.iter().max_by_key(cause) {
        Some(row) => failure.why(format!("{}: {}", row.meaning, output::human::safe(&row.example))),
        None => failure,
    }
}

async fn measure(plan: Plan, global: &Global) -> Result<Report, Failure> {
    let refused = |error| Failure::new(Exit::Machine, "signals can't be heard").why(error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
    let progress = progress::Bar::new(&plan, global.quiet);
    let starting = bench::start(plan);
    let running = tokio::select! {
        running = starting => running?,
        _ = interrupt.recv() => return Err(Failure::new(Exit::Interrupted, "interrupted before anything was asked")),
        _ = terminate.recv() => return Err(Failure::new(Exit::Interrupted, "ended before anything was asked")),
    };
    if bench::is_public(running.address().ip()) && !global.quiet {
        eprintln!(
            "note: {} is a public address: load it only if it is yours, or if you were asked to",
            running.address().ip()
        );
    }
    let watcher = running.watcher();
    let mut finished = std::pin::pin!(running.finish());
    let mut tick = tokio::time::interval(progress::EVERY);
    loop {
        tokio::select! {
            report = &mut finished => {
                progress.done();
                return Ok(report?);
            }
            _ = interrupt.recv() => watcher.interrupt(),
            _ = terminate.recv() => watcher.interrupt(),
            _ = tick.tick() => progress.show(&watcher.progress()),
        }
    }
}

fn plan(args: &Args, global: &Global) -> Result<Plan, Failure> {
    let (load, request) = (&args.load, &args.request);
    let body = request.data.as_deref().map(content).transpose()?;
    let method = request.method.clone().unwrap_or(if body.is_some() { Method::POST } else { Method::GET });
    if method == Method::CONNECT {
        return Err(Failure::new(Exit::Usage, "CONNECT makes tunnels, which aren't measured here"));
    }
    let urls = urls(args)?;
    let settings =
        TargetSettings { urls, method, headers: request.headers.clone(), body, http2: request.http2 };
    let target = Target::new(settings)
        .map_err(|error| Failure::new(Exit::Usage, output::human::safe(&error.to_string())))?;
    let connections = load.connections as usize;
    if connections * load.streams as usize > bench::MAX_WORKERS {
        let most = format!("connections times streams may be {} at most", bench::MAX_WORKERS);
        return Err(Failure::new(Exit::Usage, "so many requests at a time can't be made").why(most));
    }
    if load.duration.is_zero() {
        return Err(
            Failure::new(Exit::Usage, "nothing can be measured in no time").next("-d 10s, or -n 1000")
        );
    }
    let half = std::thread::available_parallelism().map_or(1, |all| all.get().div_ceil(2));
    Ok(Plan {
        target,
        trust: trust(request)?,
        connections,
        streams: load.streams as usize,
        threads: load.threads.map_or(half, |threads| threads as usize).min(connections),
        pace: load.rate.map_or(Pace::Closed, Pace::Open),
        until: load.requests.map_or(Until::Elapsed(load.duration), Until::Requests),
        warmup: load.warmup,
        timeout: global.patience(),
    })
}

/// What is asked for: the URLs of the command line, or those of the list.
fn urls(args: &Args) -> Result<Vec<String>, Failure> {
    let Some(list) = &args.urls else { return Ok(args.url.clone()) };
    let base = match &args.url[..] {
        [] => None,
        [base] => Some(Url::parse(base).map_err(|error| {
            Failure::new(Exit::Usage, format!("\"{}\" is no URL", output::human::safe(base))).why(error)
        })?),
        _ => {
            return Err(Failure::new(Exit::Usage, "beside --urls one URL is enough")
                .why("it gives those of the list their scheme, host and port"));
        }
    };
    let listed = urls::list(list)?;
    if listed.is_empty() {
        return Err(Failure::new(Exit::NotFound, format!("{} holds no URL", list.display())));
    }
    let absolute = |url: &String| {
        urls::absolute(url, base.as_ref()).map_err(|failure| match url.starts_with('/') {
            true => failure.next("the same command with a URL beside --urls, which gives scheme and host"),
            false => failure,
        })
    };
    listed.iter().map(absolute).collect()
}

/// The content that `--data` names.
fn content(data: &str) -> Result<Bytes, Failure> {
    let Some(file) = data.strip_prefix('@') else { return Ok(Bytes::copy_from_slice(data.as_bytes())) };
    let refused = |error: io::Error| Failure::new(Exit::Machine, format!("{file} can't be read")).why(error);
    let from: Box<dyn Read> = match file {
        "-" => Box::new(io::stdin()),
        _ => Box::new(fs::File::open(file).map_err(refused)?),
    };
    let mut content = Vec::new();
    from.take(MAX_CONTENT + 1).read_to_end(&mut content).map_err(refused)?;
    if content.len() as u64 > MAX_CONTENT {
        return Err(Failure::new(Exit::Usage, format!("{file} is too large to be sent again and again"))
            .why("the content of a request may have 64 MiB"));
    }
    Ok(content.into())
}

fn trust(request: &RequestArgs) -> Result<Trust, Failure> {
    match &request.cacert {
        None if request.insecure => Ok(Trust::Anyone),
        None => Ok(Trust::System),
        Some(file) => Ok(Trust::Authorities(authorities(file)?)),
    }
}

fn authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let failed = |why: String| {
        Failure::new(Exit::Machine, format!("{} holds no authorities that can be read", file.display()))
            .why(why)
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| failed(error.to_string()));
    match found {
        Ok(found) if found.is_empty() => Err(failed("there is no PEM certificate in it".to_owned())),
        found => found,
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "write requests a second: 500, 0.5")?;
    match rate > 0.0 && rate <= bench::MAX_RATE {
        true => Ok(rate),
        false => Err(format!("requests a second are more than 0 and {} at most", bench::MAX_RATE)),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = values::duration(text)?;
    match duration <= bench::MAX_DURATION {
        true => Ok(duration),
        false => Err("this is longer than a day".to_owned()),
    }
}

/// Why nothing could be measured, and what to type instead.
impl From<bench::Error> for Failure {
    fn from(error: bench::Error) -> Self {
        use bench::Error;
        let what = error.to_string();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        match error {
            Error::Resolve { source, .. } => Self::new(Exit::NotFound, what).why(source),
            Error::Connect { failure, why, .. } => {
                let exit = match failure {
                    bench::Failure::ConnectTimeout => Exit::TimedOut,
                    _ => Exit::Machine,
                };
                let refusal = Self::new(exit, what).why(output::human::safe(&why));
                match failure {
                    bench::Failure::Refused => {
                        refusal.next("start the server, or see whether the port is right")
                    }
                    bench::Failure::Tls if why.contains("certificate") => {
                        refusal.next("the same command with --cacert FILE, or with --insecure")
                    }
                    bench::Failure::ConnectTimeout => {
                        refusal.next("the same command with a longer --timeout")
                    }
                    _ => refusal,
                }
            }
            Error::Name(_) => Self::new(Exit::Usage, what),
            Error::Descriptors { .. } => Self::new(Exit::Machine, what)
                .next("fewer --connections, or `ulimit -Hn` raised by an administrator"),
            Error::Tls(_) | Error::Thread(_) => {
                let failure = Self::new(Exit::Machine, what);
                match source {
                    Some(why) => failure.why(why),
                    None => failure,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_positive_and_bounded() {
        assert_eq!(rate("0.5"), Ok(0.5));
        assert_eq!(rate("1000"), Ok(1000.0));
        for wrong in ["0", "-1", "NaN", "inf", "1000001", "x", ""] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn content_is_text_or_a_file() {
        assert_eq!(content("a=b").unwrap(), "a=b");
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "from a file").unwrap();
        assert_eq!(content(&format!("@{}", file.path().display())).unwrap(), "from a file");
        assert_eq!(content("@/nowhere/at/all").unwrap_err().exit, Exit::Machine);
        file.as_file().set_len(MAX_CONTENT + 1).unwrap();
        assert_eq!(content(&format!("@{}", file.path().display())).unwrap_err().exit, Exit::Usage);
    }
}

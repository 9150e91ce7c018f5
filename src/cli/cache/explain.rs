//! `proxy-stone cache explain`

use clap::ValueEnum;
use clap_complete::engine::ArgValueCandidates;

use super::explained;
use crate::admin::api::{Explain, Explanation, PastExplanation, PastQuery, SupposedReply, path};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::output::{self, Column, Format, Kind, OneArgs};
use crate::cli::{Global, completions, instance, values};

/// Arguments of `cache explain`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The request's method (without it GET) and its URL; a path alone means the first listener's host.
    #[arg(
        value_name = "METHOD|URL",
        num_args = 1..=2,
        required_unless_present = "past",
        add = ArgValueCandidates::new(completions::urls)
    )]
    pub request: Vec<String>,

    /// A request field; may be given more than once.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = values::header)]
    pub headers: Vec<(String, String)>,

    /// Explain a past request by its id (X-Request-Id, `logs -o wide`) instead.
    #[arg(long = "request", value_name = "ID", conflicts_with_all = ["request", "headers", "response_headers", "status"])]
    pub past: Option<String>,

    /// Exit with 1 unless this is what would happen; with --request: what happened.
    #[arg(long, value_name = "OUTCOME")]
    pub expect: Option<Expected>,

    /// Suppose a reply with this field, and say whether it would be stored; may be given more than once.
    #[arg(long = "response-header", value_name = "NAME: VALUE", value_parser = values::header)]
    pub response_headers: Vec<(String, String)>,

    /// Suppose a reply with this status [default with --response-header: 200].
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(100..=999))]
    pub status: Option<u16>,

    /// How to print it.
    #[command(flatten)]
    pub output: OneArgs,
}

/// What a script may expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Expected {
    /// Answered from a fresh stored response.
    Hit,
    /// Answered from a stale one.
    Stale,
    /// The origin is asked whether what is stored still holds.
    Validate,
    /// The origin is asked, if only to validate.
    Miss,
    /// The cache is not asked.
    Bypass,
}

pub const EXAMPLES: &str = "\
Examples:
  proxy-stone cache explain https://api.example.com/v1/users/7
  proxy-stone cache explain HEAD /v1/users/7 -H 'Accept-Language: de'
  proxy-stone cache explain /v1/users/7 --expect hit -q
  proxy-stone cache explain /v1/users --status 200 --response-header 'Cache-Control: max-age=60'
  proxy-stone cache explain --request 019aa8c2-6f0e-7c31-a2f4-5d41402abc4b
  proxy-stone cache explain /v1/users/7 -o json | jq .items[0].key

Exit codes:
  0 ok    1 --expect is not met    2 usage
  4 no such request is remembered    5 no running instance";

const COLUMNS: &[Column] = &[
    Column::new("verdict", Kind::Text),
    Column::new("headline", Kind::Text),
    Column::new("method", Kind::Text),
    Column::new("url", Kind::Text),
    Column::new("route", Kind::Text).at("/route/name"),
    Column::new("key", Kind::Text).at("/key/digest"),
    Column::new("state", Kind::Text).at("/entry/state"),
    Column::new("age", Kind::Seconds).at("/entry/age_s"),
    Column::new("ttl", Kind::Seconds).at("/entry/ttl_s"),
    Column::new("lifetime", Kind::Seconds).at("/entry/lifetime_s"),
    Column::new("lifetime_from", Kind::Text).at("/entry/lifetime_from"),
    Column::new("rule", Kind::Text).at("/why/0/rule"),
];

const PAST: &[Column] = &[
    Column::new("headline", Kind::Text),
    Column::new("time", Kind::TimeOfDay).at("/exchange/time"),
    Column::new("cache", Kind::Text).at("/exchange/cache"),
    Column::new("status", Kind::Number).at("/exchange/status"),
    Column::new("method", Kind::Text).at("/exchange/method"),
    Column::new("host", Kind::Text).at("/exchange/host"),
    Column::new("target", Kind::Text).at("/exchange/target"),
    Column::new("route", Kind::Text).at("/exchange/route"),
    Column::new("key", Kind::Text).at("/exchange/key"),
    Column::new("forward", Kind::Text).at("/exchange/forward"),
    Column::new("detail", Kind::Text).at("/exchange/detail"),
    Column::new("attempts", Kind::Number).at("/exchange/attempts"),
];

/// Asks the instance and prints what it says.
pub fn run(args: &Args, global: &Global) -> Outcome {
    if let Some(id) = &args.past {
        return past(id, args, global);
    }
    let (method, url) = match args.request.as_slice() {
        [method, url] => (method.as_str(), url),
        [url] => ("GET", url),
        _ => return Err(Failure::new(Exit::Usage, "say which URL")),
    };
    let supposed = (args.status.is_some() || !args.response_headers.is_empty()).then(|| SupposedReply {
        status: args.status.unwrap_or(200),
        headers: args.response_headers.clone(),
    });
    let asked = Explain {
        method: method.to_owned(),
        url: url.clone(),
        headers: args.headers.clone(),
        reply: supposed,
    };
    let client = instance::client(global)?;
    let told: Explanation = instance::block_on(async { Ok(client.post(path::EXPLAIN, &asked).await?) })?;
    let as_text =
        matches!(args.output.output, Format::Table | Format::Wide) && args.output.columns.is_empty();
    match as_text {
        true if global.quiet => output::styled(&[explained::headline(&told)])?,
        true => output::styled(&explained::lines(&told))?,
        false => output::one(COLUMNS, &args.output, global, &told)?,
    }
    held_to(args.expect, &told.verdict, || format!("it would be: {}", told.headline))
}

/// What was decided for a request that is over.
fn past(id: &str, args: &Args, global: &Global) -> Outcome {
    let client = instance::client(global)?;
    let query = PastQuery { id: id.to_owned() };
    let told: PastExplanation =
        instance::block_on(async { Ok(client.get(path::EXPLAIN_PAST, &query).await?) })?;
    let as_text =
        matches!(args.output.output, Format::Table | Format::Wide) && args.output.columns.is_empty();
    match as_text {
        true if global.quiet => output::styled(std::slice::from_ref(&told.headline))?,
        true => output::styled(&explained::past(&told))?,
        false => output::one(PAST, &args.output, global, &told)?,
    }
    let verdict = match told.exchange.cache.as_str() {
        "revalidated" => "validate",
        "collapsed" => "miss",
        other => other,
    };
    held_to(args.expect, verdict, || format!("it was: {}", told.headline))
}

fn held_to(expected: Option<Expected>, verdict: &str, told: impl FnOnce() -> String) -> Outcome {
    match expected {
        Some(expected) if !expected.is_met_by(verdict) => {
            let name = expected.to_possible_value().map(|value| value.get_name().to_owned());
            let what = format!("{} was expected", name.unwrap_or_default());
            Err(Failure::new(Exit::Negative, what).why(told()))
        }
        _ => Ok(Exit::Ok),
    }
}

impl Expected {
    fn is_met_by(self, verdict: &str) -> bool {
        match self {
            Self::Hit => verdict == "hit",
            Self::Stale => verdict == "stale",
            Self::Validate => verdict == "validate",
            Self::Miss => matches!(verdict, "miss" | "validate"),
            Self::Bypass => verdict == "bypass",
        }
    }
}

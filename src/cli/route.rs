//! `proxy-stone route`

use clap::Subcommand;
use serde_json::Value;

use super::exit::{Exit, Outcome};
use super::output::{self, Column, Format, Kind, OutputArgs, Printer};
use super::{Global, instance, values};
use crate::admin::api::{Route, RouteLimit, RouteTest, RouteTestReply, path};

/// See which route takes which request.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands about routes.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// List the routes in the order in which they are tried.
    #[command(visible_alias = "list", after_long_help = LS_EXAMPLES)]
    Ls(LsArgs),
    /// Show which route takes a request, and why the others do not.
    ///
    /// Nothing is sent to an upstream. Exits with 1 if no route takes the request.
    #[command(after_long_help = TEST_EXAMPLES)]
    Test(TestArgs),
}

/// Arguments of `route ls`.
#[derive(Clone, Debug, clap::Args)]
pub struct LsArgs {
    /// How to print it.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Arguments of `route test`.
#[derive(Clone, Debug, clap::Args)]
pub struct TestArgs {
    /// The request's method.
    #[arg(value_name = "METHOD")]
    pub method: String,

    /// The request's URL; a path alone means the first listener's host.
    #[arg(value_name = "URL")]
    pub url: String,

    /// A request field; may be given more than once.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = values::header)]
    pub headers: Vec<(String, String)>,

    /// The client's address, for rate limits [default: 127.0.0.1].
    #[arg(long, value_name = "ADDRESS")]
    pub client: Option<std::net::IpAddr>,

    /// How to print it.
    #[command(flatten)]
    pub output: OutputArgs,
}

const LS_EXAMPLES: &str = "\
Examples:
  proxy-stone route ls
  proxy-stone route ls -o wide
  proxy-stone route ls -o json --columns name,upstream

Exit codes:
  0 ok    2 usage    5 no running instance";

const TEST_EXAMPLES: &str = "\
Examples:
  proxy-stone route test GET http://api.example.com/v1/users/7
  proxy-stone route test POST /v1/users -H 'content-type: application/json'
  proxy-stone route test OPTIONS /v1/users -H 'origin: https://app.example.com' -H 'access-control-request-method: PUT'
  proxy-stone route test GET /v1/users --client 192.0.2.7

Exit codes:
  0 a route takes it    1 no route does    2 usage    5 no running instance";

const COLUMNS: &[Column] = &[
    Column::new("order", Kind::Number),
    Column::new("name", Kind::Text),
    Column::new("hosts", Kind::List),
    Column::new("paths", Kind::List),
    Column::new("methods", Kind::List),
    Column::new("headers", Kind::List).wide(),
    Column::new("query", Kind::List).wide(),
    Column::new("upstream", Kind::Text),
    Column::new("answer", Kind::Text).wide(),
    Column::new("mode", Kind::Text),
    Column::new("policy", Kind::Text),
    Column::new("ttl", Kind::Seconds).at("/ttl_s"),
    Column::new("shadowed_by", Kind::Text).wide(),
];

const VERDICTS: &[Column] = &[
    Column::new("route", Kind::Text),
    Column::new("matches", Kind::Text),
    Column::new("taken", Kind::Text),
    Column::new("reason", Kind::Text),
];

/// Runs a command about routes.
pub fn run(args: &Args, global: &Global) -> Outcome {
    match &args.command {
        Command::Ls(args) => list(args, global),
        Command::Test(args) => test(args, global),
    }
}

fn list(args: &LsArgs, global: &Global) -> Outcome {
    let client = instance::client(global)?;
    let routes: Vec<Route> = instance::block_on(async { Ok(client.get(path::ROUTES, &()).await?) })?;
    output::all(COLUMNS, &args.output, global, &routes)?;
    Ok(Exit::Ok)
}

fn test(args: &TestArgs, global: &Global) -> Outcome {
    let mut printer = Printer::new(VERDICTS, &args.output, global)?;
    let client = instance::client(global)?;
    let (method, url) = (args.method.clone(), args.url.clone());
    let test = RouteTest { method, url, headers: args.headers.clone(), client: args.client };
    let reply: RouteTestReply =
        instance::block_on(async { Ok(client.post(path::ROUTE_TEST, &test).await?) })?;
    let exit = if reply.route.is_some() { Exit::Ok } else { Exit::Negative };
    if matches!(args.output.output, Format::Json | Format::Ndjson) && args.output.columns.is_empty() {
        printer.push(&reply)?;
        printer.finish()?;
        return Ok(exit);
    }
    if args.output.output != Format::Csv {
        output::lines(&summary(&reply))?;
    }
    for verdict in &reply.verdicts {
        let verdict: Value = serde_json::to_value(verdict).map_err(std::io::Error::other)?;
        printer.push(&verdict)?;
    }
    printer.finish()?;
    Ok(exit)
}

/// What is said above the table.
fn summary(reply: &RouteTestReply) -> Vec<String> {
    let Some(route) = &reply.route else {
        return vec!["no route takes this request; it would be answered 404".to_owned(), String::new()];
    };
    let mut lines = vec![format!("route     {}", output::human::safe(route))];
    let parts = [
        ("cors", &reply.cors),
        ("answer", &reply.answer),
        ("upstream", &reply.upstream),
        ("forwards", &reply.forwards),
        ("mode", &reply.mode),
        ("key", &reply.key),
    ];
    for (name, value) in parts {
        if let Some(value) = value {
            lines.push(format!("{name:<8}  {}", output::human::safe(value)));
        }
    }
    lines.extend(reply.limits.iter().map(limit));
    lines.push(String::new());
    lines
}

/// How the request would stand with a rate limit.
fn limit(limit: &RouteLimit) -> String {
    let safe = output::human::safe;
    let tier = limit.tier.as_ref().map(|tier| format!(", tier {}", safe(tier))).unwrap_or_default();
    let standing = match limit.verdict.as_str() {
        "exempt" => "exempt".to_owned(),
        verdict => format!("{verdict}, {} of {} left", limit.remaining, limit.quota),
    };
    let (name, rate, key) = (safe(&limit.limit), safe(&limit.rate), safe(&limit.key));
    format!("{:<8}  {name}: {rate} for {key}{tier}: {standing}", "limit")
}

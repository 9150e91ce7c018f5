//! The program's own diagnostics, on standard error: what went wrong and what was set aside, not requests.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The variables that may hold a filter such as `warn,proxy_stone::upstream=debug`; the first one wins.
const VARIABLES: [&str; 2] = ["PROXY_STONE_LOG", "RUST_LOG"];

/// Starts the diagnostics. `verbosity` is the number of `-v`: what we do, then also in detail, then everything;
/// `quiet` leaves only what is wrong. `PROXY_STONE_LOG`, else `RUST_LOG`, says it in more detail and goes before. `colour` is what
/// the caller found out about the terminal. A second call does nothing.
pub fn init(verbosity: u8, quiet: bool, colour: bool) {
    let filter = VARIABLES.iter().find_map(|name| std::env::var(name).ok().filter(|text| !text.is_empty()));
    let (filter, broken) = match filter.as_deref().map(EnvFilter::try_new) {
        None => (by_verbosity(verbosity, quiet), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (by_verbosity(verbosity, quiet), Some(error)),
    };
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_target(verbosity > 1)
        .try_init()
        .is_ok();
    if let Some(error) = broken.filter(|_| started) {
        tracing::warn!(%error, "the log filter in the environment is not understood and not used");
    }
}

/// Our own words first: libraries are quiet until much is asked for.
fn by_verbosity(verbosity: u8, quiet: bool) -> EnvFilter {
    let (ours, others) = match verbosity {
        0 if quiet => (LevelFilter::WARN, LevelFilter::ERROR),
        0 => (LevelFilter::INFO, LevelFilter::ERROR),
        1 => (LevelFilter::DEBUG, LevelFilter::INFO),
        _ => (LevelFilter::TRACE, LevelFilter::DEBUG),
    };
    EnvFilter::new(format!("{others},proxy_stone={ours}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_v_say_more() {
        for (verbosity, quiet, wanted) in [
            (0, true, "proxy_stone=warn"),
            (0, false, "proxy_stone=info"),
            (1, false, "proxy_stone=debug"),
            (9, false, "proxy_stone=trace"),
        ] {
            assert!(by_verbosity(verbosity, quiet).to_string().contains(wanted), "{verbosity}");
        }
    }
}

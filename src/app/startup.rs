//! What `serve` says when it starts: where it listens, whom it asks, what it keeps, and a first command to try.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use super::instance::Instance;
use super::serve::Places;
use crate::cache::Mode;
use crate::server::ListenAddress;

/// The start-up text, one fact a line.
pub(super) fn banner(instance: &Instance, places: &Places, took: Duration) -> String {
    let mut text = format!("proxy-stone {}  (process {})\n", env!("CARGO_PKG_VERSION"), std::process::id());
    let mut line = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:<10} {value}");
    };
    for (address, tls) in instance.listeners() {
        match address.tcp() {
            Some(address) => {
                line("listening", &format!("{}://{}", scheme(tls.is_some()), reachable(address)));
            }
            None => line("listening", &address.to_string()),
        }
    }
    if let Some(address) = instance.machine_addr() {
        line("telemetry", &format!("http://{address}/metrics"));
    }
    for upstream in instance.upstreams.all() {
        let settings = upstream.settings();
        let endpoints: Vec<String> =
            settings.endpoints.iter().map(|e| endpoint(e, &settings.base_path)).collect();
        line("upstream", &format!("{} -> {}", settings.name, endpoints.join(", ")));
    }
    let site = instance.proxy.site();
    let caching = site.routes.iter().filter(|route| route.cache.mode == Mode::Cache).count();
    line("routes", &format!("{}, {caching} of them cached", site.routes.len()));
    line("config", &config(places));
    line("store", &format!("{} ({})", places.store.display(), instance.cache.state()));
    line("admin", &places.socket.display().to_string());
    match instance.listeners().first() {
        Some((ListenAddress::Tcp(first), tls)) => {
            let scheme = scheme(tls.is_some());
            line("try", &format!("curl -i {scheme}://{}{}", reachable(*first), places.first_path()));
        }
        Some((ListenAddress::Unix(first), None)) => {
            let path = places.first_path();
            line("try", &format!("curl -i --unix-socket {} http://localhost{path}", first.display()));
        }
        Some((ListenAddress::Unix(_) | ListenAddress::Inherited(_), _)) | None => {}
    }
    let _ = writeln!(text, "ready in {} ms", took.as_millis());
    text
}

fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

fn config(places: &Places) -> String {
    match &places.config {
        Some(path) => path.display().to_string(),
        None if places.demo => "none (built-in demo)".to_owned(),
        None => "none (command line)".to_owned(),
    }
}

fn endpoint(endpoint: &crate::upstream::EndpointSettings, base_path: &str) -> String {
    let scheme = if endpoint.tls { "https" } else { "http" };
    let default = if endpoint.tls { 443 } else { 80 };
    let host =
        if endpoint.host.contains(':') { format!("[{}]", endpoint.host) } else { endpoint.host.to_string() };
    let port = if endpoint.port == default { String::new() } else { format!(":{}", endpoint.port) };
    format!("{scheme}://{host}{port}{base_path}")
}

/// An address that a command on this machine can be given: every address becomes the loopback one.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => ([127, 0, 0, 1], v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => ([127, 0, 0, 1], v6.port()).into(),
        other => other,
    }
}

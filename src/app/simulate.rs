//! A config's site without an instance: nothing listens, nothing is asked, no name is looked up.

use super::error::Error;
use crate::clock::Clock;
use crate::config::Compiled;
use crate::pipeline::Site;
use crate::pipeline::simulate::Simulation;
use crate::telemetry::{self, Telemetry};
use crate::upstream::{self, EndpointSettings, Upstreams};

/// A replay through what this config makes of requests.
///
/// # Errors
/// When the system gives no thread, or the routes contradict each other.
pub fn simulation(settings: &Compiled) -> Result<Simulation, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::system("start the control runtime"))?;
    let quiet = telemetry::Settings { access_log: None, ring: 0, listen: None };
    let telemetry = Telemetry::start(&quiet, Clock::System)?;
    let upstreams = Upstreams::new(runtime.handle().clone());
    let names: Vec<_> = settings.upstreams.iter().map(|upstream| nowhere(&upstream.name)).collect();
    upstreams.apply(&names);
    let site = Site::build(settings.pipeline.clone(), &settings.cache, &upstreams, &telemetry, None)?;
    telemetry.close();
    Ok(Simulation::new(site, settings.cache.clone()))
}

/// An upstream of this name that is never asked; its address needs no look-up.
fn nowhere(name: &str) -> upstream::Settings {
    let endpoint =
        EndpointSettings { tls: false, host: "127.0.0.1".into(), port: 9, weight: 1, backup: false };
    upstream::Settings::new(name, endpoint)
}

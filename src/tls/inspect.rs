//! Looks at what settings name, without serving with it: for `config lint` and `cert ls`.

use std::sync::Arc;

use super::error::{At, Fault};
use super::material::{self, Material};
use super::settings::Settings;
use super::state::{Broken, State, provider};
use crate::clock::Clock;

/// What was found.
#[derive(Debug, Default)]
pub struct Inspection {
    /// The certificates that can be used, each with its position in the settings.
    pub certificates: Vec<(usize, Material)>,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

/// Reads every file that settings name.
pub fn inspect(settings: &Settings) -> Inspection {
    let provider = provider();
    let load = |(index, files)| Some((index, Material::load(files, index, &provider).ok()?));
    let certificates = settings.certificates.iter().enumerate().filter_map(load).collect();
    let (_, mut faults) = State::build(&Arc::new(settings.clone()), None, &Clock::System, Broken::Refused);
    // A certificate that cannot be used hides what is wrong with its key.
    for (index, files) in settings.certificates.iter().enumerate() {
        if faults.iter().any(|fault| fault.at == At::Certificate(index)) {
            faults.extend(material::key_fault(files, index));
        }
    }
    Inspection { certificates, faults }
}

//! The config file: shape, findings, and the settings compiled from it.
//!
//! `load` reads TOML into a `tree` of values that know their place, merges the profile over it, puts in
//! variables, holds it against the `shape` (generated from the doc-commented model in `file`), and compiles
//! plain settings for each room. Every step goes on after a problem, so that all findings come at once; a
//! config with an error compiles to nothing. It never opens a socket and never starts anything.

pub mod access;
pub mod address;
pub mod answers;
pub mod certificates;
pub mod check;
pub mod codes;
pub mod compile;
pub mod compiled;
pub mod compression;
pub mod cors;
pub mod edits;
pub mod expand;
pub mod file;
pub mod finding;
pub mod init;
pub mod keyed;
pub mod lifetime;
pub mod limits;
pub mod load;
pub mod pattern;
pub mod place;
pub mod provenance;
pub mod reference;
pub mod rewrites;
pub mod sarif;
pub mod scalar;
pub mod schema;
pub mod secret;
mod server_name;
pub mod shape;
pub mod show;
pub mod substitute;
pub mod suggest;
pub mod tokens;
pub mod tree;
pub mod users;
pub mod watch;

pub use codes::{Code, Severity};
pub use compiled::Compiled;
pub use finding::{Finding, Report};
pub use load::{Loaded, Overrides, Source, lint, load};
pub use place::find_file;
pub use tree::Node as Tree;

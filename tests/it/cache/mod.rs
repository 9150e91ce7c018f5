//! The cache as its clients and its operator see it.

mod at_once;
mod collapse;
mod content;
mod explain;
mod explain_parts;
mod from_disk;
mod groups;
mod internal;
mod invalidation;
mod keys;
mod leak;
mod lifetimes;
mod outcomes;
mod partial;
mod persistence;
mod purge;
mod purging;
mod ranges;
mod reuse;
mod slices;
mod stale;
mod storing;
mod users;

//! What the RFCs ask of a cache, sentence by sentence: tables of cases, each named after the section that it shows,
//! through real sockets, and on both tiers (in RAM, and on disk with no room in RAM).
//!
//! A file per topic: functions that make a [`Table`], named in `tables!`; the steps of a case are [`Case`]'s methods.
//! The route is a catch-all with `cache = {}`, as somebody would write who wants HTTP caching and nothing else.

mod case;
mod run;

mod age;
mod bodies;
mod conditional;
mod freshness;
mod invalidation;
mod ranges;
mod requests;
mod stale;
mod status;
mod storing;
mod validation;
mod vary;

pub use case::{Case, case, refetched, reused, validated};
pub use run::{Table, on_disk, table};

/// A table as two tests, in a module of the name of the function that makes it.
macro_rules! tables {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            #[tokio::test]
            async fn in_ram() {
                crate::rfc::table(&super::$name()).await;
            }

            #[tokio::test]
            async fn on_disk() {
                crate::rfc::on_disk(&super::$name()).await;
            }
        }
    )*};
}
pub(crate) use tables;

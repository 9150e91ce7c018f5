//! Which entries: the options that `cache ls` and `cache purge` share.

use std::time::Duration;

use clap_complete::engine::ArgValueCandidates;

use crate::admin::api::Selector;
use crate::cli::{completions, values};

/// A choice of entries; at most one may be given.
#[derive(Clone, Debug, clap::Args)]
#[group(multiple = false)]
pub struct SelectArgs {
    /// One key, as `cache ls -o wide` prints it.
    #[arg(long, value_name = "KEY", add = ArgValueCandidates::new(completions::keys))]
    pub key: Option<String>,

    /// One URL as clients write it, with all its variants.
    #[arg(long, value_name = "URL", add = ArgValueCandidates::new(completions::urls))]
    pub url: Option<String>,

    /// Every stored URL that begins so; /path: on any host.
    #[arg(long, value_name = "URL|/PATH")]
    pub prefix: Option<String>,

    /// Every stored URL that matches host/path; * is anything.
    #[arg(long, value_name = "GLOB")]
    pub glob: Option<String>,

    /// Every stored URL of this host.
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,

    /// Everything that this route stored.
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(completions::routes))]
    pub route: Option<String>,

    /// Everything that carries this tag.
    #[arg(long, value_name = "TAG")]
    pub tag: Option<String>,

    /// Every member of this group of an origin (Cache-Groups, RFC 9875).
    #[arg(long, value_name = "ORIGIN/GROUP")]
    pub group: Option<String>,

    /// Everything that arrived longer ago.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub older_than: Option<Duration>,

    /// Everything.
    #[arg(long)]
    pub all: bool,
}

impl SelectArgs {
    /// The choice; `None`: none was made.
    pub fn selector(&self) -> Option<Selector> {
        let text = |value: &Option<String>, make: fn(String) -> Selector| value.clone().map(make);
        text(&self.key, Selector::Key)
            .or_else(|| text(&self.url, Selector::Url))
            .or_else(|| text(&self.prefix, Selector::Prefix))
            .or_else(|| text(&self.glob, Selector::Glob))
            .or_else(|| text(&self.host, Selector::Host))
            .or_else(|| text(&self.route, Selector::Route))
            .or_else(|| text(&self.tag, Selector::Tag))
            .or_else(|| text(&self.group, Selector::Group))
            .or_else(|| {
                self.older_than
                    .map(|age| Selector::OlderThan(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)))
            })
            .or_else(|| self.all.then_some(Selector::All))
    }
}

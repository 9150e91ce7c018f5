//! Time-outs that can never happen, because another one always comes first.

use std::time::Duration;

use super::{Checks, route_path, upstream_path};
use crate::config::codes::Code;
use crate::config::compile::route_name;
use crate::config::finding::Finding;
use crate::config::scalar::{PositiveTime, time_text};
use crate::config::tree::Step;

impl Checks<'_> {
    pub(super) fn times(&mut self) {
        for (index, route) in self.file.routes.iter().enumerate() {
            let Some(PositiveTime(whole)) = route.timeout else { continue };
            let idle = route_path(index, "request_idle_timeout");
            self.never_reached(index, whole, "request_idle_timeout", route.request_idle_timeout, &idle);
            let Some(target) = &route.upstream else { continue };
            let Some((name, upstream)) = self.file.upstreams.0.iter().find(|(name, _)| *name == target.0)
            else {
                continue;
            };
            for (key, value) in [
                ("connect_timeout", upstream.connect_timeout),
                ("first_byte_timeout", upstream.first_byte_timeout),
                ("idle_timeout", upstream.idle_timeout),
            ] {
                self.never_reached(index, whole, key, value, &upstream_path(name, key));
            }
        }
    }

    /// What is built in is only a ceiling, so only what somebody wrote contradicts.
    fn never_reached(
        &mut self,
        route: usize,
        whole: Duration,
        key: &str,
        part: Option<PositiveTime>,
        path: &[Step],
    ) {
        let Some(PositiveTime(part)) = part.filter(|part| part.0 > whole) else { return };
        if !self.written(path) {
            return;
        }
        let name = route_name(route, &self.file.routes[route]);
        let message = format!(
            "`{key}` ({}) can never be reached: route `{name}` ends every exchange after {}",
            time_text(part),
            time_text(whole)
        );
        let place = self.place(path);
        let other = self.place(&route_path(route, "timeout"));
        self.push(
            Finding::new(Code::Timeouts, message)
                .at(place)
                .related(other, "the whole exchange")
                .help("make the part shorter than the whole"),
        );
    }
}

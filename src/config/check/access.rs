//! Lists of clients that let nobody in, or that do nothing.

use super::{Checks, route_path};
use crate::config::codes::Code;

impl Checks<'_> {
    pub(super) fn access(&mut self) {
        for (index, route) in self.file.routes.iter().enumerate() {
            let empty = route.allow.as_ref().is_some_and(|clients| clients.as_slice().is_empty());
            let at = route_path(index, "allow");
            if empty && !self.damaged(&at) {
                let found = self.found(Code::Empty, "`allow` lets nobody in", &at);
                found.help = Some("name the networks that are served, or leave it out".into());
            }
        }
    }
}

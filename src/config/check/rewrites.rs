//! Rewrites that do nothing, or not what was meant.

use super::{Checks, below, route_path};
use crate::config::codes::Code;
use crate::config::rewrites::{PathRegex, unknown_groups};
use crate::config::scalar::Scalar;
use crate::config::tree::Step;

impl Checks<'_> {
    pub(super) fn rewrites(&mut self) {
        for (index, route) in self.file.routes.iter().enumerate() {
            for key in ["path", "query"].iter().filter(|_| route.respond.is_some()) {
                let at = route_path(index, key);
                if self.written(&at) {
                    let message = format!("`{key}` does nothing beside `respond`");
                    self.no_effect(&message, &at, "nothing is forwarded: remove it");
                }
            }
            let Some(path) = &route.path else { continue };
            let at = below(&route_path(index, "path"), "replace");
            for (regex, with) in &path.replace.0 {
                let Ok(PathRegex(parsed)) = PathRegex::parse(regex) else { continue };
                for name in unknown_groups(&parsed, &with.0) {
                    self.unknown_group(&below(&at, regex), &name, parsed.captures_len() - 1);
                }
            }
        }
    }

    fn unknown_group(&mut self, at: &[Step], name: &str, groups: usize) {
        let message = format!("the expression has no group `{name}`");
        let digits = name.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0);
        let help = match digits {
            Some(end) => {
                let (number, rest) = name.split_at(end);
                format!("a name goes on as far as it can: write `$${{{number}}}{rest}`")
            }
            None => format!("it has {groups}; the whole match is $0"),
        };
        self.found(Code::BadTemplate, message, at).help = Some(help);
    }
}

//! Passwords that nobody has, or that are asked for by nobody.

use super::{Checks, below, route_path};
use crate::config::codes::Code;
use crate::config::file::BasicAuth;
use crate::config::tree::Step;

impl Checks<'_> {
    pub(super) fn users(&mut self) {
        if let Some(basic) = &self.file.basic_auth {
            self.some_users(&["basic_auth".into()], basic);
        }
        for (index, route) in self.file.routes.iter().enumerate() {
            let path = route_path(index, "basic_auth");
            if let Some(basic) = &route.basic_auth
                && self.place(&path) != self.place(&["basic_auth".into()])
            {
                self.some_users(&path, basic);
            }
        }
    }

    fn some_users(&mut self, path: &[Step], basic: &BasicAuth) {
        let nobody = match basic {
            BasicAuth::Switch(on) => *on,
            BasicAuth::Table(table) => table.users.0.is_empty() && table.file.is_none(),
        };
        if nobody && !self.damaged(path) && !self.damaged(&below(path, "users")) {
            let found = self.found(Code::Empty, "this lets nobody in", path);
            found.help =
                Some("name the users: `users = { alice = \"$argon2id$...\" }`, or a `file` of them".into());
        }
    }
}

//! Policies for cross-origin requests that browsers refuse, or that say nothing.

use super::{Checks, below, route_path};
use crate::config::codes::Code;
use crate::config::cors::{allows_credentials, is_any};
use crate::config::file::{Cors, CorsTable};
use crate::config::tree::Step;
use crate::http::origin::OriginPattern;
use crate::pipeline::edit::cors::is_made_here;

impl Checks<'_> {
    pub(super) fn cors(&mut self) {
        if let Some(cors) = &self.file.cors {
            self.one_cors(&["cors".into()], cors);
        }
        for (index, route) in self.file.routes.iter().enumerate() {
            let Some(cors) = &route.cors else { continue };
            let path = route_path(index, "cors");
            // What stands at the top is told of there.
            if self.place(&path) != self.place(&["cors".into()]) {
                self.one_cors(&path, cors);
            }
            if !matches!(cors, Cors::Switch(_)) {
                self.edited_by_hand(index);
            }
        }
    }

    fn one_cors(&mut self, path: &[Step], cors: &Cors) {
        if let Cors::Switch(true) = cors {
            let found = self.found(Code::Empty, "this does not say which origins", path);
            found.help = Some("name them: \"https://app.example.com\", or \"*\" for all".into());
        }
        let origins = cors.origins();
        let list = match cors {
            Cors::Table(_) => below(path, "origins"),
            _ => path.to_vec(),
        };
        if origins.is_empty() && !matches!(cors, Cors::Switch(_)) && !self.damaged(&list) {
            let found = self.found(Code::Empty, "no origin is named", &list);
            found.help = Some("name those that may, or write `cors = false`".into());
        }
        let any = origins.iter().any(|origin| origin.0 == OriginPattern::Any);
        if any && origins.len() > 1 {
            self.no_effect("the other origins do nothing beside \"*\"", &list, "remove them, or \"*\"");
        }
        if let Cors::Table(table) = cors {
            self.credentials(path, table, any);
        }
    }

    fn credentials(&mut self, path: &[Step], table: &CorsTable, any: bool) {
        if !allows_credentials(table) {
            return;
        }
        if any {
            let other = self.place(&below(path, "origins"));
            let message = "every page could read what its visitors may, in their name";
            let help = "name the origins that may; browsers refuse \"*\" where credentials are allowed";
            let found = self.found(Code::CredentialsForAll, message, &below(path, "credentials"));
            *found = found.clone().related(other, "every origin").help(help);
        }
        if table.expose.as_ref().is_some_and(|names| is_any(names, |name| name.0.as_str())) {
            let help = "name the fields";
            self.no_effect(
                "\"*\" is a field's name where credentials are allowed",
                &below(path, "expose"),
                help,
            );
        }
    }

    /// A policy makes its fields after all edits.
    fn edited_by_hand(&mut self, index: usize) {
        let Some(changes) = &self.file.routes[index].response_headers else { return };
        let named = [&changes.set, &changes.add].map(|table| table.0.iter().map(|(name, _)| name.clone()));
        let names: Vec<_> = ["set", "add"].into_iter().zip(named).collect();
        for (key, names) in names {
            for name in names {
                if http::HeaderName::from_bytes(name.as_bytes()).is_ok_and(|name| is_made_here(&name)) {
                    let at = below(&below(&route_path(index, "response_headers"), key), &name);
                    let message = format!("`{name}` is made by `cors`, whatever is written here");
                    self.no_effect(&message, &at, "remove it");
                }
            }
        }
    }
}

//! The forms in which a URL may stand in keys. Whoever names a URL, names it as clients write it; what is stored for it
//! stands under what the rules of its route leave of that.

use super::KeySettings;
use crate::http::Scheme;
use crate::http::authority::Authority;
use crate::pipeline::site::Site;

/// Authority and target, as a key may have them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// Lower-case host, with the port unless it is the scheme's own; or [`super::ANY_HOST`].
    pub authority: Box<str>,
    /// Path and query.
    pub target: Box<str>,
}

impl Site {
    /// As what replies to a target in normal form may be stored now: one form for each route that may take it, whatever
    /// the request's method and fields, and for each that may forward it, each form once.
    pub fn stored_forms(&self, authority: &str, target: &str) -> Vec<Form> {
        let Ok(parsed) = Authority::parse(authority, Scheme::Http) else { return Vec::new() };
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let mut forms = Vec::new();
        let mut add = |rules: &KeySettings, target: &str| {
            let form =
                Form { authority: rules.authority(authority).into(), target: rules.target(target).into() };
            if !forms.contains(&form) {
                forms.push(form);
            }
        };
        for position in self.router.possible(parsed.host(), path, query) {
            let route = &self.routes[position];
            // Patterns are held against what is stored, as they are written.
            let rewritten = route.settings.rewrite.as_ref().filter(|_| !target.contains('*'));
            match rewritten.map(|rewrite| rewrite.text(target)) {
                Some(Ok(forwarded)) => add(&route.cache.key, &forwarded),
                Some(Err(_)) | None => add(&route.cache.key, target),
            }
        }
        // Origins name what they serve as they know it, which is what such routes forward.
        for route in self.routes.iter().filter(|route| route.settings.rewrite.is_some()) {
            add(&route.cache.key, target);
        }
        forms
    }

    /// As [`Site::stored_forms`], and first as it is written: for that some may be stored that a config before this one
    /// keyed so.
    pub fn forms(&self, authority: &str, target: &str) -> Vec<Form> {
        let literal = Form { authority: authority.into(), target: target.into() };
        let stored = self.stored_forms(authority, target).into_iter().filter(|form| *form != literal);
        std::iter::once(literal.clone()).chain(stored).collect()
    }
}

//! Tables of tokens that lack something, and users who are told apart by tokens that nobody verifies.

use std::time::Duration;

use super::{Checks, below};
use crate::config::codes::Code;
use crate::config::file::{OneOrMany, Tokens, User};
use crate::config::scalar::Time;
use crate::config::suggest::did_you_mean;
use crate::config::tree::Step;

/// More is no longer about clocks (RFC 7519 4.1.4).
const MAX_LEEWAY: Duration = Duration::from_secs(5 * 60);

impl Checks<'_> {
    pub(super) fn tokens(&mut self) {
        for (name, tokens) in &self.file.tokens.0 {
            let path: Vec<Step> = vec!["tokens".into(), name.as_str().into()];
            self.source(&path, tokens);
            self.algorithms(&path, tokens);
            if tokens.leeway.is_some_and(|Time(leeway)| leeway > MAX_LEEWAY) {
                let help = "it is for clocks that differ, and those do by seconds";
                let found =
                    self.found(Code::OutOfRange, "`leeway` is 5 minutes at most", &below(&path, "leeway"));
                found.help = Some(help.into());
            }
        }
    }

    fn source(&mut self, path: &[Step], tokens: &Tokens) {
        let none = tokens.keys.as_ref().is_some_and(|keys| keys.as_slice().is_empty());
        match (&tokens.keys, &tokens.secret) {
            (None, None) if self.damaged(path) => {}
            (None, None) => {
                let help = "write `keys`, the files of public keys, or `secret`";
                let found =
                    self.found(Code::MissingKey, "it is not said what these tokens are signed with", path);
                found.help = Some(help.into());
            }
            (Some(_), Some(_)) => {
                let other = self.place(&below(path, "keys"));
                let message = "a table of tokens has both `keys` and `secret`";
                let found = self.found(Code::ExclusiveKeys, message, &below(path, "secret"));
                found.help =
                    Some("make two tables: who can verify with a secret can also sign with it".into());
                *found = found.clone().related(other, "the one");
            }
            _ if none && !self.damaged(&below(path, "keys")) => {
                self.found(Code::Empty, "`keys` names no file", &below(path, "keys"));
            }
            _ => {}
        }
    }

    fn algorithms(&mut self, path: &[Step], tokens: &Tokens) {
        let help = "name those that your tokens are signed with: algorithms = \"RS256\"";
        let at = below(path, "algorithms");
        match &tokens.algorithms {
            None if self.damaged(path) => {}
            None => {
                let message = "it is not said how these tokens may be signed";
                self.found(Code::MissingKey, message, path).help = Some(help.into());
            }
            Some(names) if names.as_slice().is_empty() && !self.damaged(&at) => {
                self.found(Code::Empty, "`algorithms` names none", &at).help = Some(help.into());
            }
            Some(_) => {}
        }
    }

    /// A policy's users by claim: who verifies it.
    pub(super) fn verified(&mut self, path: &[Step], user: &User) {
        let declared = &self.declared.tokens;
        match (&user.claim, &user.tokens) {
            (None, Some(_)) => {
                let message = "`tokens` does nothing without `claim`";
                self.no_effect(
                    message,
                    &below(path, "tokens"),
                    "add the claim that names the user: claim = \"sub\"",
                );
            }
            (Some(_), Some(name)) if !declared.contains(&name.0) => {
                let help = did_you_mean(&name.0, declared.iter().map(String::as_str))
                    .unwrap_or_else(|| format!("add a table `[tokens.{}]`", name.0));
                let message = format!("there is no table of tokens `{}`", name.0);
                self.found(Code::UnknownTokens, message, &below(path, "tokens")).help = Some(help);
            }
            (Some(_), None) if !self.damaged(path) => {
                let help = "add a table `[tokens.NAME]` with the keys, and `tokens = \"NAME\"` here: then all tokens of a user \
                            share";
                let message =
                    "signatures of tokens are not verified: each token has stored replies of its own";
                let found = self.found(Code::UnverifiedTokens, message, &below(path, "claim"));
                found.help = Some(help.into());
            }
            _ => {}
        }
        let none = user.claim.as_ref().is_some_and(|names| names.as_slice().is_empty());
        if none && !self.damaged(&below(path, "claim")) {
            self.found(Code::Empty, "`claim` names none", &below(path, "claim")).help =
                Some("name the claim that says who the user is: claim = \"sub\"".into());
        }
        if let (Some(OneOrMany::Many(names)), None) = (&user.claim, &user.tokens)
            && names.len() > 1
        {
            let message =
                "only the first claim counts where nobody verifies the token, which is the key itself";
            self.no_effect(message, &below(path, "claim"), "name one claim, or add `tokens`");
        }
    }

    pub(super) fn unused_tokens(&mut self) {
        let policies = self.policies();
        let used: Vec<String> = policies
            .iter()
            .filter_map(|(_, policy)| policy.key.user.as_ref()?.tokens.as_ref())
            .map(|name| name.0.clone())
            .collect();
        for (name, _) in self.file.tokens.0.iter().filter(|(name, _)| !used.contains(name)) {
            let place = self.root.key_place(&["tokens".into(), name.as_str().into()]);
            let message = format!("no policy verifies with the tokens `{name}`");
            let finding = crate::config::finding::Finding::new(Code::UnusedTokens, message);
            self.findings.push(finding.at(place));
        }
    }
}

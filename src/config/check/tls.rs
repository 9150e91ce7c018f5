//! Listeners that speak TLS which nobody has described, descriptions without effect, and names that are guarded on one
//! listener and not on another.

use super::Checks;
use super::listeners::listener_path;
use crate::config::certificates::listens;
use crate::config::codes::Code;
use crate::config::file::{ClientCertificates, Hsts, Listen, Listener, Tls, Verify};
use crate::config::finding::Finding;
use crate::config::suggest::did_you_mean;
use crate::config::tree::Step;

/// The least `max-age` with which browsers take a name into their lists (hstspreload.org).
const PRELOAD: u64 = 31_536_000;

/// The longest life of tickets (RFC 8446 4.6.1).
const TICKETS: u64 = 7 * 86_400;

impl Checks<'_> {
    pub(super) fn tls(&mut self) {
        for (name, tls) in &self.file.tls.0 {
            self.certificates(name, tls);
            self.clients(&tls_path(name, &["client"]), &tls.client);
            for (given, of) in &tls.names.0 {
                self.clients(&tls_path(name, &["names", given, "client"]), &of.client);
            }
            self.hsts(name, tls);
            self.tickets(name, tls);
        }
        self.terminators();
        self.redirects();
        self.unguarded();
        self.identity();
    }

    /// `[tls.NAME]`s that no listener speaks.
    pub(super) fn unused_tls(&mut self) {
        for (name, _) in &self.file.tls.0 {
            let used = tables(self)
                .iter()
                .any(|(_, listener)| listener.tls.as_ref().is_some_and(|tls| tls.0 == *name));
            if !used {
                let found = self.found(
                    Code::UnusedTls,
                    format!("no listener speaks `tls.{name}`"),
                    &tls_path(name, &[]),
                );
                found.help = Some(format!("name it: listen = [{{ addr = \":8443\", tls = \"{name}\" }}]"));
            }
        }
    }

    fn certificates(&mut self, name: &str, tls: &Tls) {
        let path = tls_path(name, &[]);
        match (&tls.cert, &tls.key) {
            (Some(_), None) => {
                let found = self.found(
                    Code::MissingKey,
                    format!("`tls.{name}` has a `cert` without its `key`"),
                    &tls_path(name, &["cert"]),
                );
                found.help = Some("add `key = \"...\"`, the file of its private key".into());
            }
            (None, Some(_)) => {
                let found = self.found(
                    Code::MissingKey,
                    format!("`tls.{name}` has a `key` without its `cert`"),
                    &tls_path(name, &["key"]),
                );
                found.help = Some("add `cert = \"...\"`, the file of its certificate".into());
            }
            (None, None)
                if tls.certificates.is_empty()
                    && !self.damaged(&path)
                    && !self.damaged(&tls_path(name, &["certificates"])) =>
            {
                let found = self.found(Code::MissingKey, format!("`tls.{name}` has no certificate"), &path);
                found.help = Some(
                    "add `cert` and `key`; `proxy-stone cert dev localhost` makes a pair for development"
                        .into(),
                );
            }
            _ => {}
        }
        if tls.ocsp.is_some() && tls.cert.is_none() {
            let message = "`ocsp` is for the certificate `cert`, and there is none".to_owned();
            self.found(Code::NoEffect, message, &tls_path(name, &["ocsp"]));
        }
    }

    fn clients(&mut self, path: &[Step], client: &ClientCertificates) {
        let on = matches!(client.verify, Some(Verify::Optional | Verify::Required));
        if on && client.ca.is_none() && !self.damaged(path) {
            let found = self.found(
                Code::MissingKey,
                "certificates of clients are asked for, but no authority is named",
                &super::below(path, "verify"),
            );
            found.help = Some("add `ca = \"...\"`, a PEM file of the authorities that sign them".into());
        }
        let given =
            [("ca", client.ca.is_some()), ("crl", client.crl.is_some()), ("allow", client.allow.is_some())];
        for (key, _) in given.into_iter().filter(|(_, given)| *given && !on) {
            let found = self.found(
                Code::NoEffect,
                format!("`{key}` has no effect: clients are not asked for certificates"),
                &super::below(path, key),
            );
            found.help = Some("add `verify = \"required\"` or `verify = \"optional\"`".into());
        }
    }

    fn hsts(&mut self, name: &str, tls: &Tls) {
        let Some(Hsts::Table(table)) = &tls.hsts else { return };
        if table.preload && (!table.include_subdomains || table.max_age.0.as_secs() < PRELOAD) {
            let message =
                "browsers take no name into their lists so: `preload` asks for a year and for subdomains";
            let found = self.found(Code::NoEffect, message, &tls_path(name, &["hsts", "preload"]));
            found.help = Some(
                "set `max_age = \"365d\"` and `include_subdomains = true`, or leave `preload` out".into(),
            );
        }
    }

    fn tickets(&mut self, name: &str, tls: &Tls) {
        if tls.ticket_rotation.is_some_and(|rotation| rotation.0.as_secs() > TICKETS) {
            let message = "tickets must not live longer than seven days (RFC 8446 section 4.6.1)";
            let found = self.found(Code::OutOfRange, message, &tls_path(name, &["ticket_rotation"]));
            found.help = Some("write \"12h\": keys that are kept for long undo forward secrecy".into());
        }
    }

    fn terminators(&mut self) {
        for (path, listener) in tables(self) {
            let Some(wanted) = listener.tls.as_ref().map(|name| name.0.clone()) else { continue };
            if self.declared.tls.contains(&wanted) {
                continue;
            }
            let known = self.declared.tls.iter().map(String::as_str);
            let help = did_you_mean(&wanted, known)
                .unwrap_or_else(|| format!("describe it: `[tls.{wanted}]` with `cert` and `key`"));
            let found = self.found(
                Code::UnknownTls,
                format!("there is no `tls.{wanted}`"),
                &super::below(&path, "tls"),
            );
            found.help = Some(help);
        }
    }

    fn redirects(&mut self) {
        let speaks = tables(self).iter().any(|(_, listener)| listener.tls.is_some());
        for (path, listener) in tables(self) {
            let Some(redirect) = &listener.https_redirect else { continue };
            let at = super::below(&path, "https_redirect");
            if listener.tls.is_some() {
                let message = "what comes by TLS is not redirected to TLS";
                self.found(Code::NoEffect, message, &at);
            } else if redirect.is_on() && redirect.port().is_none() && !speaks {
                let message = "requests are redirected to TLS, and no listener speaks it";
                let found = self.found(Code::NoTlsListener, message, &at);
                found.help =
                    Some("add a listener with `tls`, or say where: `https_redirect = { port = 443 }`".into());
            }
        }
    }

    /// What asks for certificates on one listener is open on another.
    fn unguarded(&mut self) {
        let guards = |tls: &Tls| {
            let required = |client: &ClientCertificates| client.verify == Some(Verify::Required);
            required(&tls.client) || tls.names.0.iter().any(|(_, of)| required(&of.client))
        };
        let listens: Vec<(Vec<Step>, Option<String>, bool)> = listens(self.file)
            .enumerate()
            .map(|(index, listen)| {
                let path = listener_path(self.file, index);
                match listen {
                    Listen::Address(_) => (path, None, false),
                    Listen::Table(table) => {
                        let redirects =
                            table.https_redirect.as_ref().is_some_and(|redirect| redirect.is_on());
                        (path, table.tls.as_ref().map(|name| name.0.clone()), redirects)
                    }
                }
            })
            .collect();
        let guarded = |name: &Option<String>| {
            let of = |name: &String| self.file.tls.0.iter().find(|(known, _)| known == name);
            name.as_ref().and_then(of).is_some_and(|(_, tls)| guards(tls))
        };
        let Some((guarded_path, _, _)) = listens.iter().find(|(_, tls, _)| guarded(tls)) else { return };
        let open: Vec<_> = listens.iter().filter(|(_, tls, redirects)| tls.is_none() && !redirects).collect();
        for (path, _, _) in open {
            let related = self.place(guarded_path);
            let place = self.place(path);
            let message = "every host is served here without TLS, those too that ask for clients' certificates elsewhere";
            let finding =
                Finding::new(Code::Unguarded, message).at(place).related(related, "they are asked for here");
            self.push(
                finding
                    .help("add `https_redirect = true`, or let routes ask: match = { client_cert = true }"),
            );
        }
    }

    /// Fields that HTTP itself needs cannot tell of certificates.
    fn identity(&mut self) {
        const TAKEN: [&str; 14] = [
            "host",
            "connection",
            "content-length",
            "transfer-encoding",
            "te",
            "trailer",
            "upgrade",
            "expect",
            "authorization",
            "cookie",
            "forwarded",
            "via",
            "x-forwarded-for",
            "x-request-id",
        ];
        for (name, _) in &self.file.client_cert_headers.0 {
            let path = ["client_cert_headers".into(), name.as_str().into()];
            if TAKEN.contains(&name.to_ascii_lowercase().as_str()) {
                let found =
                    self.found(Code::BadFieldName, format!("`{name}` has a meaning of its own"), &path);
                found.help = Some("use a field such as `Client-Cert` (RFC 9440) or `X-Client-Name`".into());
            }
        }
        let asked =
            |client: &ClientCertificates| matches!(client.verify, Some(Verify::Optional | Verify::Required));
        let any = self
            .file
            .tls
            .0
            .iter()
            .any(|(_, tls)| asked(&tls.client) || tls.names.0.iter().any(|(_, of)| asked(&of.client)));
        for (index, route) in self.file.routes.iter().enumerate() {
            let wants = route.matching.client_cert.as_ref().is_some_and(|rule| !rule.is_absence());
            if wants && !any {
                let mut path = super::route_path(index, "match");
                path.push("client_cert".into());
                let found = self.found(
                    Code::NoEffect,
                    "no client is asked for a certificate, so that this never matches",
                    &path,
                );
                found.help = Some("ask for them: `[tls.NAME.client]` with `verify` and `ca`".into());
            }
        }
    }
}

/// Every listener that is a table, with where it stands.
fn tables<'a>(checks: &Checks<'a>) -> Vec<(Vec<Step>, &'a Listener)> {
    let with_path = |(index, listen): (usize, &'a Listen)| match listen {
        Listen::Table(table) => {
            let mut path = listener_path(checks.file, index);
            path.pop();
            Some((path, table))
        }
        Listen::Address(_) => None,
    };
    listens(checks.file).enumerate().filter_map(with_path).collect()
}

fn tls_path(name: &str, rest: &[&str]) -> Vec<Step> {
    let mut path: Vec<Step> = vec!["tls".into(), name.into()];
    path.extend(rest.iter().map(|step| Step::from(*step)));
    path
}

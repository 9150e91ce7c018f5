//! Lists of clients that let nobody in, and passwords that everyone on their way can read.

use super::listeners::listener_path;
use super::{Checks, route_path};
use crate::config::codes::Code;
use crate::config::compile::listeners;
use crate::config::file::BasicAuth;

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

    /// RFC 7617 4: credentials are in cleartext wherever the connection is.
    pub(super) fn passwords(&mut self) {
        let asked = |basic: &Option<BasicAuth>| matches!(basic, Some(BasicAuth::Table(_)));
        if !self.file.routes.iter().any(|route| asked(&route.basic_auth)) {
            return;
        }
        for (index, listener) in listeners(self.file).iter().enumerate() {
            let Some(address) = listener.address.tcp() else { continue };
            // Whoever balances in front of it may well have taken TLS off.
            let guarded =
                listener.tls.is_some() || listener.redirect.is_some() || !listener.proxy_protocol.is_empty();
            if guarded || address.ip().to_canonical().is_loopback() {
                continue;
            }
            let message = format!("passwords can be read on their way to `{address}`");
            let found = self.found(Code::CleartextPasswords, message, &listener_path(self.file, index));
            found.help = Some(
                "speak TLS there (`tls`), send people to where it is spoken (`https_redirect`), or listen on 127.0.0.1 \
                 behind what speaks it"
                    .into(),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Source, lint};

    #[test]
    fn rfc_7617_4_passwords_are_not_for_everyone_to_read() {
        let hash = "$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe";
        let basic = format!("basic_auth = {{ users = {{ alice = '{hash}' }} }}");
        for (listen, basic, told) in [
            ("':80'", &*basic, true),
            ("['127.0.0.1:1', '0.0.0.0:80']", &basic, true),
            ("'127.0.0.1:80'", &basic, false),
            ("'[::1]:80'", &basic, false),
            ("'unix:/run/a.sock'", &basic, false),
            ("{ addr = ':80', proxy_protocol = ['10.0.0.1'] }", &basic, false),
            ("{ addr = ':80', https_redirect = { port = 443 } }", &basic, false),
            ("':80'", "", false),
        ] {
            let text = format!("upstream = 'http://a'\nlisten = {listen}\n{basic}\n");
            let findings = lint(&Source::Text { name: "t.toml".into(), text }, None).findings;
            let codes: Vec<_> = findings.iter().map(|finding| finding.code.as_str()).collect();
            assert_eq!(codes.contains(&"PS0454"), told, "{listen} {basic}: {codes:?}");
        }
    }
}

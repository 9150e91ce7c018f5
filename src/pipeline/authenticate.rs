//! Routes that want a name and a password (RFC 7617).
//!
//! This is access control at the edge: it comes before anything stored is looked up. The credentials end here, unless the
//! route passes them on, so that to the cache the request is one without (RFC 9111 3.5 is about those that the origin
//! sees), and all users share what is stored; caches in front of us are told to keep it for one user. The instance's own requests
//! carry none and need none.

use std::sync::Arc;

use http::header::{AUTHORIZATION, CACHE_CONTROL};
use http::{HeaderMap, HeaderValue};

use super::Proxy;
use super::error::Failure;
use super::exchange::Exchange;
use super::inbound::Inbound;
use crate::auth::basic::Users;
use crate::http::basic::Credentials;
use crate::telemetry::event::Protocol;

/// Who may ask, and what others are told.
#[derive(Clone, Debug)]
pub struct BasicAuth {
    /// Who.
    pub users: Arc<Users>,
    /// The challenge.
    pub challenge: HeaderValue,
    /// Whether the origin gets the credentials, too.
    pub forward: bool,
}

impl BasicAuth {
    /// Takes the credentials out, where they end here.
    pub(super) fn consume(&self, headers: &mut HeaderMap) {
        if !self.forward {
            headers.remove(AUTHORIZATION);
        }
    }

    fn refused(&self) -> Failure {
        Failure::Unauthorized(self.challenge.clone())
    }
}

impl Proxy {
    /// Notes whose request it is, as far as that is remembered; else hands back what must be checked.
    ///
    /// # Errors
    /// When there are no credentials.
    pub(super) fn recall(
        &self,
        basic: &BasicAuth,
        exchange: &mut Exchange,
        inbound: &Inbound,
    ) -> Result<Option<Box<Credentials>>, Failure> {
        if inbound.client.protocol == Protocol::Internal {
            return Ok(None);
        }
        let given = Credentials::of(&inbound.head.headers).ok_or_else(|| basic.refused())?;
        exchange.user = self.passwords.recall(&basic.users, &given, exchange.at);
        Ok(exchange.user.is_none().then(|| Box::new(given)))
    }

    /// Checks a password, and notes whose request it is.
    ///
    /// # Errors
    /// When it is wrong, or too many are being checked.
    pub(super) async fn check_password(
        &self,
        basic: &BasicAuth,
        exchange: &mut Exchange,
        given: Box<Credentials>,
    ) -> Result<(), Failure> {
        let checked = self.passwords.check(&basic.users, &given, exchange.client_address, exchange.at);
        match checked.await {
            Ok(Some(user)) => {
                exchange.user = Some(user);
                Ok(())
            }
            Ok(None) => Err(basic.refused()),
            Err(busy) => Err(Failure::Passwords(busy)),
        }
    }
}

/// Says that a reply is for one user. A shared cache keeps replies to requests with credentials only where it is told that it may
/// (RFC 9111 3.5), and an origin that never saw any may well say so.
pub(super) fn keep_private(headers: &mut HeaderMap) {
    let says = |word: &str| {
        let lines = headers.get_all(CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
        lines.flat_map(|line| line.split(',')).any(|given| given.trim().eq_ignore_ascii_case(word))
    };
    if !says("private") && !says("no-store") {
        headers.append(CACHE_CONTROL, HeaderValue::from_static("private"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::test_headers::{headers, lines};

    #[test]
    fn replies_for_one_user_say_so_once() {
        for (given, said) in [
            (&[][..], &["cache-control: private"][..]),
            (
                &["cache-control: public, max-age=1"],
                &["cache-control: public, max-age=1", "cache-control: private"],
            ),
            (&["cache-control: max-age=1, Private"], &["cache-control: max-age=1, Private"]),
            (&["cache-control: no-store"], &["cache-control: no-store"]),
            // With names it is about those fields alone.
            (
                &["cache-control: private=\"x-a\""],
                &["cache-control: private=\"x-a\"", "cache-control: private"],
            ),
        ] {
            let mut fields = headers(given);
            keep_private(&mut fields);
            assert_eq!(lines(&fields), said);
        }
    }
}

//! Requests that came without TLS and are sent to where there is TLS.

use http::header::{CONTENT_LENGTH, LOCATION};
use http::{HeaderMap, HeaderValue};

use super::error::Failure;
use super::reply::Source;
use super::respond::Reply;
use crate::http::HttpsRedirect;
use crate::http::cache_status::CacheStatus;
use crate::http::target::{BadTarget, Target};

/// The reply that says where to ask instead.
pub(super) fn redirect(redirect: HttpsRedirect, target: &Target) -> Result<Reply, Failure> {
    // HTTP/1.0 may leave the host out, and then there is no telling where.
    let location = location(redirect, target).ok_or(BadTarget::NoHost)?;
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(LOCATION, location);
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    Ok(Reply {
        status: redirect.status,
        headers,
        source: Source::Empty,
        cache_status: CacheStatus { detail: Some("https-redirect"), ..CacheStatus::default() },
        deadline: None,
    })
}

fn location(redirect: HttpsRedirect, target: &Target) -> Option<HeaderValue> {
    let host = target.host();
    if host.is_empty() {
        return None;
    }
    let port = if redirect.port == 443 { String::new() } else { format!(":{}", redirect.port) };
    // `OPTIONS *` is about the whole server, which has no path.
    let path = Some(target.path_and_query().as_str()).filter(|path| path.starts_with('/')).unwrap_or("/");
    HeaderValue::try_from(format!("https://{host}{port}{path}")).ok()
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn the_same_target_with_tls() {
        let to = |port| HttpsRedirect { status: StatusCode::PERMANENT_REDIRECT, port };
        for (host, path, port, expected) in [
            ("A.example", "/x?y=1", 443, "https://a.example/x?y=1"),
            ("a.example:80", "/", 443, "https://a.example/"),
            ("a.example:8080", "/", 8443, "https://a.example:8443/"),
            ("[::1]:8080", "//evil.example", 443, "https://[::1]//evil.example"),
        ] {
            let request = http::Request::builder().uri(path).header("host", host).body(()).unwrap();
            let target = Target::of(&request.into_parts().0, false).unwrap();
            assert_eq!(location(to(port), &target).unwrap(), expected);
        }
    }
}

//! `Proxy-Status` (RFC 9209): how this proxy came by a reply, or failed to.

use http::{HeaderName, HeaderValue, StatusCode};

use super::structured::write_token_or_string;

/// The field's name.
pub static NAME: HeaderName = HeaderName::from_static("proxy-status");

/// What went wrong (RFC 9209 2.3), where we can tell it so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorType {
    /// The name lookup took too long (2.3.1).
    DnsTimeout,
    /// The name does not resolve (2.3.2).
    DnsError,
    /// Nothing is configured that would take the request (2.3.3).
    DestinationNotFound,
    /// Nothing that could answer is available (2.3.4).
    DestinationUnavailable,
    /// There is no way to the address (2.3.6).
    DestinationIpUnroutable,
    /// The connection was refused (2.3.7).
    ConnectionRefused,
    /// The connection broke off before the reply (2.3.8).
    ConnectionTerminated,
    /// Connecting took too long (2.3.9).
    ConnectionTimeout,
    /// Reading from the connection took too long (2.3.10).
    ConnectionReadTimeout,
    /// Writing to the connection took too long (2.3.11).
    ConnectionWriteTimeout,
    /// No connection is free (2.3.12).
    ConnectionLimitReached,
    /// TLS failed (2.3.13).
    TlsProtocolError,
    /// The certificate is not accepted (2.3.14).
    TlsCertificateError,
    /// The request is at fault (2.3.16).
    HttpRequestError,
    /// The request is not allowed (2.3.17).
    HttpRequestDenied,
    /// The reply broke off (2.3.18).
    HttpResponseIncomplete,
    /// The reply took too long (2.3.27).
    HttpResponseTimeout,
    /// The protocol was not changed (2.3.28).
    HttpUpgradeFailed,
    /// The reply is no HTTP (2.3.29).
    HttpProtocolError,
    /// This proxy is at fault (2.3.31).
    ProxyInternalError,
    /// Its configuration is (2.3.32).
    ProxyConfigurationError,
    /// The request goes in a circle (2.3.33).
    ProxyLoopDetected,
}

impl ErrorType {
    /// The registered name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DnsTimeout => "dns_timeout",
            Self::DnsError => "dns_error",
            Self::DestinationNotFound => "destination_not_found",
            Self::DestinationUnavailable => "destination_unavailable",
            Self::DestinationIpUnroutable => "destination_ip_unroutable",
            Self::ConnectionRefused => "connection_refused",
            Self::ConnectionTerminated => "connection_terminated",
            Self::ConnectionTimeout => "connection_timeout",
            Self::ConnectionReadTimeout => "connection_read_timeout",
            Self::ConnectionWriteTimeout => "connection_write_timeout",
            Self::ConnectionLimitReached => "connection_limit_reached",
            Self::TlsProtocolError => "tls_protocol_error",
            Self::TlsCertificateError => "tls_certificate_error",
            Self::HttpRequestError => "http_request_error",
            Self::HttpRequestDenied => "http_request_denied",
            Self::HttpResponseIncomplete => "http_response_incomplete",
            Self::HttpResponseTimeout => "http_response_timeout",
            Self::HttpUpgradeFailed => "http_upgrade_failed",
            Self::HttpProtocolError => "http_protocol_error",
            Self::ProxyInternalError => "proxy_internal_error",
            Self::ProxyConfigurationError => "proxy_configuration_error",
            Self::ProxyLoopDetected => "proxy_loop_detected",
        }
    }

    /// The status that RFC 9209 recommends; 508 for a circle, which says more than its 502.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::HttpRequestError => StatusCode::BAD_REQUEST,
            Self::HttpRequestDenied => StatusCode::FORBIDDEN,
            Self::DestinationNotFound | Self::ProxyInternalError | Self::ProxyConfigurationError => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Self::DestinationUnavailable | Self::ConnectionLimitReached => StatusCode::SERVICE_UNAVAILABLE,
            Self::DnsTimeout
            | Self::ConnectionTimeout
            | Self::ConnectionReadTimeout
            | Self::ConnectionWriteTimeout
            | Self::HttpResponseTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::ProxyLoopDetected => StatusCode::LOOP_DETECTED,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    /// `NAME; error=TYPE`, with the proxy's own name. Next hops and details are left out: they would tell addresses.
    pub fn to_value(self, proxy: &str) -> HeaderValue {
        let mut text = String::with_capacity(proxy.len() + 40);
        write_token_or_string(&mut text, proxy);
        text.push_str("; error=");
        text.push_str(self.as_str());
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("proxy"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_is_an_item_with_its_error() {
        assert_eq!(
            ErrorType::ConnectionRefused.to_value("proxy-stone"),
            "proxy-stone; error=connection_refused"
        );
        assert_eq!(ErrorType::DnsError.to_value("my proxy"), "\"my proxy\"; error=dns_error");
    }

    #[test]
    fn statuses_are_those_recommended() {
        for (error, status) in [
            (ErrorType::DnsError, 502),
            (ErrorType::ConnectionTimeout, 504),
            (ErrorType::ConnectionLimitReached, 503),
            (ErrorType::HttpRequestError, 400),
            (ErrorType::ProxyLoopDetected, 508),
        ] {
            assert_eq!(error.status(), status);
        }
    }
}

//! How long a response is fresh (RFC 9111 4.2, RFC 9213, RFC 5861).

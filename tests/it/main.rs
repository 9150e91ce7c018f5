//! Journeys: a real origin, the proxy, a real client, all over loopback sockets in this one process. A file per
//! behaviour.

mod support;

mod aborts;
mod access;
mod answers;
mod bodies;
mod bounds;
mod cache;
mod compress;
mod cors;
mod edits;
mod ends;
mod examples;
mod failures;
mod fields;
mod floods;
mod frames;
mod grpc;
mod grpc_web;
mod http2;
mod interim;
mod lifecycle;
mod limits;
mod listeners;
mod passwords;
mod pool;
mod refused;
mod rewrites;
mod rfc;
mod routing;
mod smuggling;
mod tls;
mod tunnels;
mod tunnels_h2;
mod upstream_h2;

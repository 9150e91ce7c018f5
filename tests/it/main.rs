//! Journeys: a real origin, the proxy, a real client, all over loopback sockets in this one process. A file per
//! behaviour.

mod support;

mod cache;
mod fields;

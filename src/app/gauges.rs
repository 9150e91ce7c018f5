//! What is measured when someone asks for metrics, rather than counted as it happens.

use std::sync::Arc;

use super::instance::Instance;
use crate::telemetry::{GaugeSink, names};
use crate::upstream::EndpointState;

/// Lets telemetry measure the store, the pools and the exchanges at every snapshot.
pub(super) fn register(instance: &Arc<Instance>) {
    let weak = Arc::downgrade(instance);
    instance.telemetry.register_gauges(Box::new(move |sink| {
        let Some(instance) = weak.upgrade() else { return };
        store(&instance, sink);
        pools(&instance, sink);
        instance.certificates.gauges(sink);
        tunnels(&instance, sink);
        limits(&instance, sink);
        sink.set(names::EXCHANGES_WAITING, &[], instance.proxy.in_flight() as f64);
        sink.set(names::SHARED_FETCHES, &[], instance.proxy.flights() as f64);
        sink.set(names::CONFIG_GENERATION, &[], instance.generation() as f64);
    }));
}

fn store(instance: &Instance, sink: &mut GaugeSink) {
    let stats = instance.cache.stats();
    for (tier, bytes, limit, entries) in [
        ("memory", stats.memory_bytes, stats.memory_limit, stats.memory_resources),
        ("disk", stats.disk_bytes, stats.disk_limit, stats.disk_entries),
    ] {
        let labels = [("tier", tier)];
        sink.set(names::STORE_BYTES, &labels, bytes as f64);
        sink.set(names::STORE_LIMIT_BYTES, &labels, limit as f64);
        sink.set(names::STORE_ENTRIES, &labels, entries as f64);
    }
    for (event, count) in [
        ("evicted", stats.evicted),
        ("expired", stats.expired),
        ("purged", stats.purged),
        ("corrupt", stats.corrupt),
        ("not_queued", stats.queue_dropped),
        ("refused", stats.refused),
        ("purged_in_flight", stats.purged_in_flight),
        ("leaking", instance.cache.leaks().found()),
    ] {
        sink.set(names::STORE_EVENTS, &[("event", event)], count as f64);
    }
    sink.set(names::STORE_QUEUE, &[], stats.queue_depth as f64);
    sink.set(names::STORE_PURGE_RULES, &[], stats.rules_active as f64);
    sink.set(names::STORE_STATE, &[("state", instance.cache.state().word())], 1.0);
}

fn tunnels(instance: &Instance, sink: &mut GaugeSink) {
    let tunnels = instance.proxy.tunnels();
    sink.set(names::TUNNELS, &[], tunnels.open() as f64);
    let (to_client, to_upstream) = tunnels.moved();
    for (direction, bytes) in [("to_client", to_client), ("to_upstream", to_upstream)] {
        sink.set(names::TUNNEL_BYTES, &[("direction", direction)], bytes as f64);
    }
    for (reason, count) in tunnels.ended() {
        sink.set(names::TUNNELS_ENDED, &[("reason", reason.as_str())], count as f64);
    }
}

fn limits(instance: &Instance, sink: &mut GaugeSink) {
    for limit in &instance.proxy.site().limits {
        let (name, counts) = (("limit", limit.name()), limit.limiter.counts());
        for (outcome, count) in [
            ("allowed", counts.allowed),
            ("limited", counts.limited),
            ("dry_run", counts.dry_run),
            ("exempt", counts.exempt),
        ] {
            sink.set(names::RATE_LIMIT_REQUESTS, &[name, ("outcome", outcome)], count as f64);
        }
        sink.set(names::RATE_LIMIT_KEYS, &[name], counts.keys as f64);
        sink.set(names::RATE_LIMIT_EVICTIONS, &[name], counts.evicted as f64);
        sink.set(names::RATE_LIMIT_SHARED, &[name], counts.shared as f64);
    }
}

fn pools(instance: &Instance, sink: &mut GaugeSink) {
    for upstream in instance.upstreams.all() {
        let snapshot = upstream.snapshot();
        let name = ("upstream", &*snapshot.name);
        let waiting: usize = snapshot.endpoints.iter().map(|endpoint| endpoint.pending).sum();
        sink.set(names::POOL_WAITING, &[name], waiting as f64);
        for endpoint in &snapshot.endpoints {
            let address = ("endpoint", &*endpoint.endpoint);
            for (state, count) in [("active", endpoint.in_use()), ("idle", endpoint.idle)] {
                sink.set(names::POOL_CONNECTIONS, &[name, address, ("state", state)], count as f64);
            }
            for (reason, count) in &endpoint.violations {
                let labels = [name, address, ("reason", *reason)];
                sink.set(names::ENDPOINT_VIOLATIONS, &labels, *count as f64);
            }
            let http2 = endpoint.http2_connections;
            let by_protocol = [("http1", endpoint.connections.saturating_sub(http2)), ("http2", http2)];
            for (protocol, count) in by_protocol {
                let labels = [name, address, ("protocol", protocol)];
                sink.set(names::POOL_PROTOCOLS, &labels, count as f64);
            }
            sink.set(names::POOL_STREAMS, &[name, address], endpoint.streams as f64);
            let skipped = endpoint.state == EndpointState::Skipped;
            sink.set(names::ENDPOINT_SKIPPED, &[name, address], f64::from(u8::from(skipped)));
        }
    }
}

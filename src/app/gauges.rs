//! What is measured when someone asks for metrics, rather than counted as it happens.

use std::sync::Arc;

use super::instance::Instance;

/// Lets telemetry measure the store, the pools and the connections at every snapshot.
pub(super) fn register(instance: &Arc<Instance>) {
    let weak = Arc::downgrade(instance);
    instance.telemetry.register_gauges(Box::new(move |sink| {
        let Some(instance) = weak.upgrade() else { return };
        let store = instance.cache.stats();
        for (name, value) in [
            ("store_memory_bytes", store.memory_bytes),
            ("store_memory_limit_bytes", store.memory_limit),
            ("store_disk_bytes", store.disk_bytes),
            ("store_disk_limit_bytes", store.disk_limit),
            ("store_disk_entries", store.disk_entries),
            ("store_write_queue", store.queue_depth),
            ("store_writes_dropped", store.queue_dropped),
            ("store_evicted", store.evicted),
            ("store_expired", store.expired),
            ("store_purged", store.purged),
            ("store_purge_rules", store.rules_active),
            ("store_corrupt", store.corrupt),
        ] {
            sink.set(name, &[], value as f64);
        }
        sink.set("store_open", &[], f64::from(u8::from(instance.cache.state().is_open())));
        sink.set("client_connections", &[], instance.connections() as f64);
        sink.set("exchanges_in_flight", &[], instance.proxy.in_flight() as f64);
        sink.set("shared_fetches", &[], instance.proxy.flights() as f64);
        sink.set("config_generation", &[], instance.generation() as f64);
        for upstream in instance.upstreams.all() {
            for endpoint in upstream.snapshot().endpoints {
                let labels = [("upstream", &*upstream.settings().name), ("endpoint", &*endpoint.endpoint)];
                sink.set("upstream_connections_in_use", &labels, endpoint.in_use() as f64);
                sink.set("upstream_connections_idle", &labels, endpoint.idle as f64);
                sink.set("upstream_requests_waiting", &labels, endpoint.pending as f64);
            }
        }
    }));
}

"""The workloads, and the bars that each is held to."""

from peers import ROUTES, SIZES

TRACE_KEYS = 10_000
# One request in ten of the trace is for something new.
TRACE_MISSES = 10


class Workload:
    """What is asked for, and how often the origin should hear of it."""

    def __init__(self, name, title, size="1k", *, kind="hit", tls=False, h2=False, variant="plain", latency=False):
        self.name, self.title, self.kind = name, title, kind
        self.tls, self.h2, self.variant, self.latency = tls, h2, variant, latency
        # An upload's reply is one word.
        self.size = len("taken") if kind == "upload" else SIZES[size]
        self.file = size
        self.cached = kind in ("hit", "trace", "routes")
        # Requests that the origin counts for one of ours; its upload location makes a second one of each.
        self.asked = {"hit": 0, "routes": 0, "trace": 1 / TRACE_MISSES, "pass": 1, "upload": 2}[kind]
        self.connections = 8 if SIZES[size] >= SIZES["1m"] else 32
        self.path = {
            "hit": f"/c/{size}",
            "pass": f"/p/{size}",
            "upload": "/u/1m",
            "trace": "/z/1",
            "routes": "/r/1/1k",
        }[kind]

    def names(self):
        """(pattern, count) of what must be stored before anything is timed."""
        return {"trace": ("/z/%d", TRACE_KEYS), "routes": ("/r/%d/1k", ROUTES)}.get(self.kind, (self.path, 1))

    def script_arguments(self, seed, kind=None):
        """Arguments of load.lua."""
        return {
            "walk": ["walk", *self.names()],
            "trace": ["trace", TRACE_KEYS, TRACE_MISSES, seed],
            "routes": ["routes", "/r/%d/1k", ROUTES],
            "upload": ["upload", SIZES["1m"]],
        }.get(kind or self.kind, ["plain"])


WORKLOADS = [
    Workload("hit-1k", "cached hit, 1 KiB", latency=True),
    Workload("hit-16k", "cached hit, 16 KiB", "16k"),
    Workload("hit-100k", "cached hit, 100 KiB", "100k", latency=True),
    Workload("hit-1m", "cached hit, 1 MiB", "1m"),
    Workload("disk-1k", "cached hit on disk, page cache warm, 1 KiB", variant="disk"),
    Workload("disk-16k", "cached hit on disk, page cache warm, 16 KiB", "16k", variant="disk"),
    Workload("disk-100k", "cached hit on disk, page cache warm, 100 KiB", "100k", variant="disk"),
    Workload("disk-1m", "cached hit on disk, page cache warm, 1 MiB", "1m", variant="disk"),
    Workload("pass-1k", "pass-through, 1 KiB", kind="pass", latency=True),
    Workload("pass-100k", "pass-through, 100 KiB", "100k", kind="pass", latency=True),
    Workload("hit-1k-tls", "cached hit over TLS, 1 KiB", tls=True, latency=True),
    Workload("hit-100k-tls", "cached hit over TLS, 100 KiB", "100k", tls=True),
    Workload("pass-1k-tls", "pass-through over TLS, 1 KiB", kind="pass", tls=True, latency=True),
    Workload("pass-100k-tls", "pass-through over TLS, 100 KiB", "100k", kind="pass", tls=True),
    Workload("hit-1k-h2", "cached hit, HTTP/2 over TLS, 32 streams, 1 KiB", tls=True, h2=True, latency=True),
    Workload("pass-1k-h2", "pass-through, HTTP/2 over TLS in, 32 streams, 1 KiB", kind="pass", tls=True, h2=True),
    Workload("trace", "Zipf trace over 10,000 stored names, 10 % misses, 1 KiB", kind="trace"),
    Workload("upload-1m", "uploads of 1 MiB", kind="upload"),
    Workload("routes", "cached hit, 1 KiB, by 1,000 routes", kind="routes", variant="routes"),
    Workload("hit-1k-log", "cached hit, 1 KiB, access log on", variant="log"),
    Workload("pass-1k-log", "pass-through, 1 KiB, access log on", kind="pass", variant="log"),
    Workload("hit-1k-two", "cached hit, 1 KiB, two workers", variant="two"),
    Workload("pass-1k-two", "pass-through, 1 KiB, two workers", kind="pass", variant="two"),
]

# Not timed: what is held idle.
MEMORY = "memory"

# Server CPU per request, ours divided by theirs: at most this.
CPU_BARS = {
    "hit-1k": {"nginx": 0.50, "haproxy": 0.95, "varnish": 0.50},
    "hit-16k": {"nginx": 0.65, "haproxy": 0.90, "varnish": 0.50},
    "hit-100k": {"nginx": 1.00, "haproxy": 0.75, "varnish": 0.80},
    "hit-1m": {"nginx": 1.00, "haproxy": 0.75, "varnish": 0.80},
    "hit-1k-tls": {"nginx": 0.60, "haproxy": 0.80},
    "hit-1k-h2": {"nginx": 0.40, "haproxy": 0.70},
    "pass-1k": {"nginx": 1.05, "haproxy": 1.00, "varnish": 0.25, "envoy": 0.45, "caddy": 0.25},
    "pass-1k-tls": {"nginx": 1.00, "haproxy": 0.95, "envoy": 0.50, "caddy": 0.30},
    "pass-1k-h2": {"nginx": 0.65, "haproxy": 0.50, "envoy": 0.40, "caddy": 0.20},
    "pass-100k": {"nginx": 0.90, "haproxy": 0.85, "varnish": 0.40, "envoy": 0.60, "caddy": 0.40},
}

# Our own CPU per request against our own in another workload: at most this.
OWN_BARS = {
    "hit-1k-log": ("hit-1k", 1.08),
    "pass-1k-log": ("pass-1k", 1.08),
    "hit-1k-two": ("hit-1k", 1.10),
    "pass-1k-two": ("pass-1k", 1.10),
}

KIB = 1024
# Bytes: idle, and for each idle connection.
MEMORY_BARS = {"idle": 20 * KIB * KIB, "plain": 2 * KIB, "tls": 30 * KIB}
# Microseconds that a pass-through adds to a direct connection at p50.
ADDED_LATENCY_BAR = 100

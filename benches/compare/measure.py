"""One run: servers started for what the workloads need, checked, and timed in turn, round by round."""

import http.client
import resource
import ssl
import sys
import time
from pathlib import Path
from statistics import median

from peers import SIZES, VARIANTS
from processes import Cores, Failed, cpu_seconds, machine_busy, memory, tail
from workloads import OWN_BARS

HERE = Path(__file__).resolve().parent
IDLE_CONNECTIONS = 10_000


def say(text):
    print(text, file=sys.stderr, flush=True)


class Run:
    """What is to be compared, by what, and what came of it."""

    def __init__(self, options, peers, site, origin, children, generators):
        self.options, self.peers, self.site, self.origin = options, peers, site, origin
        self.children, self.generators = children, generators
        self.servers = {}
        self.results = {}
        self.seed = int(time.time())

    # -- servers --

    def server(self, peer, variant):
        """The server of that peer and variant, started when it is first wanted; None if it does not start."""
        place = (peer.name, variant)
        if place not in self.servers:
            kind = VARIANTS[variant]
            try:
                server = peer.start(kind, self.site, self.children, Cores(kind.workers))
                time.sleep(0.5)
                server.memory_idle = memory(server.pids)
            except Failed as error:
                say(f"  {error}\n  it is left out of `{variant}`")
                server = None
            self.servers[place] = server
        return self.servers[place]

    def stop_variant(self, variant):
        for (_, name), server in self.servers.items():
            if name == variant and server:
                for child in server.children:
                    self.children.stop(child)

    # -- checks --

    def asked(self):
        """How many requests the origin has answered, this one not counted."""
        connection = http.client.HTTPConnection("127.0.0.1", self.site.origin, timeout=10)
        connection.request("GET", "/status")
        numbers = connection.getresponse().read().split(b"\n")[2].split()
        connection.close()
        count, self.own_questions = int(numbers[2]), getattr(self, "own_questions", 0) + 1
        return count - self.own_questions

    def check(self, workload, server):
        """Stores what must be stored, and makes sure that replies are what they should be and come from where."""
        client = Client(server, workload)
        body = self.expected(workload)
        pattern, count = workload.names()
        if count > 1:
            self.walk(workload, server)
        for number in range(1, count + 1, max(1, count // 20)):
            self.check_origin(client, pattern.replace("%d", str(number)), body, workload)
        client.close()
        if workload.h2:
            before = self.asked()
            self.generators.h2load(workload, server.tls_port, Cores().generator, 5, count=64)
            self.expect_asked(self.asked() - before, 64, workload)

    def walk(self, workload, server):
        """Asks for every name until the origin hears of none."""
        count = workload.names()[1]
        for attempt in range(8):
            before = self.asked()
            walked = self.generators.saturate(workload, server.port, Cores().generator, 2 + attempt, 0, kind="walk")
            # Each walk begins at the first name; one that did not come to the last proves nothing.
            if self.asked() == before and walked["requests"] >= count:
                return
        raise Failed("not all names could be stored")

    def check_origin(self, client, path, body, workload):
        """Whether the origin hears of one request as often as it should; stores may need a moment."""
        wanted = 0 if workload.cached else workload.asked
        for attempt in range(20):
            before = self.asked()
            client.ask(path, body)
            heard = self.asked() - before
            if heard == wanted:
                return
            time.sleep(0.05 * attempt)
        raise Failed(f"{path}: the origin was asked {heard} times for one request, where {wanted} was expected")

    def expect_asked(self, heard, requests, workload):
        wanted = requests * workload.asked
        # What was under way at the end reached the origin without being counted by the generator.
        if not wanted * 0.98 - 1 <= heard <= wanted * 1.02 + workload.asked * 200:
            raise Failed(f"the origin was asked {heard} times in {requests} requests, where {wanted:.0f} was expected")

    def expected(self, workload):
        if workload.kind == "upload":
            return b"taken"
        return (self.site.fast / "files" / workload.file).read_bytes()

    # -- measuring --

    def workload(self, workload):
        """All rounds of one workload: {peer: {samples, latency}}."""
        say(f"{workload.name}: {workload.title}")
        taking_part = {}
        for peer in self.peers:
            if not peer.can(workload):
                continue
            server = self.server(peer, workload.variant)
            if server is None:
                continue
            try:
                self.check(workload, server)
                taking_part[peer.name] = server
            except (Failed, OSError, http.client.HTTPException) as error:
                say(f"  {peer.name} is left out of {workload.name}: {error or type(error).__name__}\n{tail(server.log, 4)}")
        found = {name: {"samples": [], "latency": []} for name in taking_part}
        for round_number in range(self.options.rounds):
            for name, server in self.in_turn(taking_part, round_number):
                if name not in found:
                    continue
                try:
                    found[name]["samples"].append(self.sample(workload, server))
                except Failed as error:
                    say(f"  {name} is left out of {workload.name}: {error}")
                    del found[name]
        if workload.latency:
            self.latency(workload, taking_part, found)
        self.results[workload.name] = {name: entry for name, entry in found.items() if entry["samples"]}

    def in_turn(self, servers, round_number):
        """Everybody once a round, each round beginning with another one."""
        names = list(servers)
        shift = round_number % max(1, len(names))
        return [(name, servers[name]) for name in names[shift:] + names[:shift]]

    def sample(self, workload, server):
        cores = Cores(VARIANTS[workload.variant].workers)
        port = server.tls_port if workload.tls else server.port
        self.seed += 1
        before = self.account(server)
        result = self.generators.saturate(workload, port, cores.generator, self.options.seconds, self.seed)
        after = self.account(server)
        spent = {key: after[key] - before[key] for key in after}
        self.expect_asked(spent["asked"], result["requests"], workload)
        cpu = spent["server"] / result["requests"] * 100_000
        sample = {
            "requests": result["requests"],
            "rate": result["requests"] / result["seconds"],
            "cpu_per_100k": cpu,
            "busy": spent["server"] / result["seconds"] / VARIANTS[workload.variant].workers,
            "others": max(0.0, spent["machine"] - spent["server"] - spent["ours"]) / result["seconds"],
        }
        say(f"  {server.peer.name:12} {sample['rate']:9.0f}/s {cpu:8.3f} CPU s/100k  busy {sample['busy']:4.0%}"
            f"  other processes {sample['others']:4.0%}")
        return sample

    def account(self, server):
        ours = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "asked": self.asked(),
            "server": cpu_seconds(server.pids),
            "ours": ours.ru_utime + ours.ru_stime + own.ru_utime + own.ru_stime + cpu_seconds([self.origin.pid]),
            "machine": machine_busy(),
        }

    def latency(self, workload, servers, found):
        """Percentiles at half of what nginx can do (or the slowest, where it takes no part)."""
        rates = {name: median(s["rate"] for s in entry["samples"]) for name, entry in found.items() if entry["samples"]}
        if not rates:
            return
        rate = 0.5 * rates.get("nginx", min(rates.values()))
        cores = Cores(VARIANTS[workload.variant].workers).generator
        say(f"  latency at {rate:.0f}/s")
        direct = workload.name == "pass-1k"
        if direct:
            # The same requests without a proxy, for what a proxy adds.
            found["direct"] = {"samples": [], "latency": []}
        for round_number in range(self.options.rounds):
            for name, server in self.in_turn(servers, round_number) + ([("direct", None)] if direct else []):
                if name not in found:
                    continue
                port = self.site.origin if server is None else server.tls_port if workload.tls else server.port
                try:
                    sample = self.generators.at_rate(workload, port, cores, self.options.seconds, rate)
                    found[name]["latency"].append(sample)
                except Failed as error:
                    say(f"  {name}: {error}")
        for entry in found.values():
            entry["asked_rate"] = rate
        if direct:
            self.results["direct"] = {workload.name: found.pop("direct")["latency"]}

    # -- memory --

    def memory_when_idle(self):
        """Idle, and with idle connections, plain and TLS; each in a server of its own."""
        count = min(IDLE_CONNECTIONS, self.site.descriptors - 2000)
        say(f"memory: idle, and with {count} idle keep-alive connections")
        rows = {}
        for peer in self.peers:
            row = {"connections": count}
            for kind in ("plain", "tls") if peer.tls else ("plain",):
                try:
                    row |= self.hold(peer, kind, count)
                except Failed as error:
                    say(f"  {peer.name}, {kind}: {error}")
            if "idle" in row:
                rows[peer.name] = row
        self.results["memory"] = rows

    def hold(self, peer, kind, count):
        self.servers.pop((peer.name, "plain"), None)
        server = self.server(peer, "plain")
        if server is None:
            raise Failed("it did not start")
        idle = settled(server.pids)
        log = server.dir / f"held-{kind}"
        port = server.tls_port if kind == "tls" else server.port
        holder = self.children.start(
            [sys.executable, HERE / "hold.py", port, count, kind], Cores().generator, log
        )
        try:
            deadline = time.monotonic() + 300
            while not (log.exists() and f"held {count}" in log.read_text()):
                if holder.poll() is not None or time.monotonic() > deadline:
                    raise Failed(f"{count} connections could not be held:\n{tail(log, 3)}")
                time.sleep(0.1)
            held = settled(server.pids)
        finally:
            self.children.stop(holder)
            for child in server.children:
                self.children.stop(child)
            self.servers.pop((peer.name, "plain"))
        say(f"  {peer.name:12} {kind:5} idle {idle / 2**20:6.1f} MiB, {(held - idle) / count / 1024:6.2f} KiB a connection")
        return {"idle": idle, f"held_{kind}": held, f"each_{kind}": (held - idle) / count}

    def memory_after(self, variant):
        """What everybody takes after all that was asked of it."""
        return {
            peer: {"idle": server.memory_idle, "after": memory(server.pids)}
            for (peer, name), server in self.servers.items()
            if name == variant and server
        }


def settled(pids, patience=20):
    """PSS once it has stopped changing: connections may be parked some seconds after their last request."""
    last, since, deadline = None, time.monotonic(), time.monotonic() + patience
    while time.monotonic() < deadline:
        now = memory(pids)[0]
        if last is None or abs(now - last) > last * 0.005:
            last, since = now, time.monotonic()
        if time.monotonic() - since > 4:
            break
        time.sleep(0.25)
    return memory(pids)[0]


class Client:
    """One connection that looks at every reply."""

    def __init__(self, server, workload):
        self.workload = workload
        if workload.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.connection = http.client.HTTPSConnection("127.0.0.1", server.tls_port, timeout=20, context=context)
        else:
            self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)

    def ask(self, path, body):
        if self.workload.kind == "upload":
            self.connection.request("POST", path, body=bytes(SIZES["1m"]))
        else:
            self.connection.request("GET", path)
        reply = self.connection.getresponse()
        got = reply.read()
        if reply.status != 200:
            raise Failed(f"{path}: status {reply.status} {reply.reason}")
        if got != body:
            raise Failed(f"{path}: the body of {len(got)} bytes is not the origin's")

    def close(self):
        self.connection.close()


def needed_for(names):
    """With what a workload's own bar compares it to."""
    return [OWN_BARS[name][0] for name in names if name in OWN_BARS and OWN_BARS[name][0] not in names]

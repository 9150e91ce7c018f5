"""The load generators: wrk for HTTP/1.1 as fast as it goes, h2load for HTTP/2, and a fixed rate for latency."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from processes import Failed

HERE = Path(__file__).resolve().parent
STREAMS = 32
H2_CONNECTIONS = 4
# One suite for all: servers differ in what they like best, so the generator offers nothing else.
SUITE = "TLS_AES_128_GCM_SHA256"


class Generators:
    """Runs them on their core, and reads what they print."""

    def __init__(self, scratch, binary):
        self.scratch, self.binary = scratch, binary
        for program in ("wrk", "h2load"):
            if shutil.which(program) is None:
                raise Failed(f"{program} is not installed: run `compare.py install`")
        config = scratch / "openssl.cnf"
        config.write_text(
            f"openssl_conf = top\n[top]\nssl_conf = ssl\n[ssl]\nsystem_default = one\n[one]\nCiphersuites = {SUITE}\n"
        )
        self.env = {**os.environ, "OPENSSL_CONF": str(config)}
        help_text = subprocess.run([binary, "bench", "--help"], capture_output=True, text=True, check=False).stdout
        # Requests due at fixed times, whatever the server does; h2load waits for a reply before it is late.
        self.open_loop = "--rate" in help_text

    def run(self, command, cores, seconds):
        command = [str(word) for word in command]
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.env,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        try:
            output, _ = child.communicate(timeout=seconds * 3 + 30)
        except subprocess.TimeoutExpired:
            raise Failed(f"`{' '.join(command)}` did not end") from None
        finally:
            child.kill()
            child.wait()
        if child.returncode != 0:
            raise Failed(f"`{' '.join(command)}` ended with {child.returncode}: {output.strip()[-400:]}")
        return output

    def saturate(self, workload, port, cores, seconds, seed, kind=None):
        """As many requests as go through: {requests, seconds}, once they are known to be sound."""
        if workload.h2:
            return self.h2load(workload, port, cores, seconds)
        command = ["wrk", "-t1", "-c", workload.connections, f"-d{seconds}s", "--timeout", "10s", "-s"]
        command += [HERE / "load.lua", url(workload, port), "--", *workload.script_arguments(seed, kind)]
        output = self.run(command, cores, seconds)
        found = json.loads(output.strip().splitlines()[-1])
        if found["failed"] or found["unexpected"]:
            raise Failed(f"{found['failed']} requests failed, {found['unexpected']} had another status than 2xx")
        # What was under way at the end has bytes without being counted as a request.
        expect_length(found["bytes"], found["requests"], workload, spare=2048)
        return found

    def h2load(self, workload, port, cores, seconds, count=None):
        many = ["-n", count] if count else ["-D", seconds]
        command = ["h2load", "-t1", "-c", 1 if count else H2_CONNECTIONS, "-m", STREAMS, *many]
        output = self.run([*command, url(workload, port)], cores, seconds)
        if "Application protocol: h2" not in output:
            raise Failed("HTTP/2 was not agreed on")
        number = lambda pattern: float(re.search(pattern, output).group(1))
        requests, failed = number(r"(\d+) succeeded"), number(r"(\d+) failed")
        statuses = [int(n) for n in re.search(r"(\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", output).groups()]
        if failed or any(statuses[1:]):
            raise Failed(f"{failed:.0f} requests failed, {sum(statuses[1:])} had another status than 2xx")
        expect_length(number(r"\((\d+)\) data"), requests, workload, spare=64)
        return {"requests": int(requests), "seconds": seconds}

    def at_rate(self, workload, port, cores, seconds, rate):
        """Percentiles in microseconds at that many requests a second."""
        connections = H2_CONNECTIONS if workload.h2 else 32
        take = self.by_bench if self.open_loop else self.by_h2load
        return take(workload, url(workload, port), connections, cores, seconds, rate)

    def by_bench(self, workload, target, connections, cores, seconds, rate):
        command = [self.binary, "bench", target, "--rate", f"{rate:.2f}", "-c", connections, "-d", f"{seconds}s"]
        command += ["--threads", 1, "--insecure", "-q", "-o", "json"]
        output = self.run([*command, *(["--http2", "--streams", STREAMS] if workload.h2 else [])], cores, seconds)
        found = json.loads(output[output.index("{") :])["items"][0]
        # What was not sent or answered by the end counts with the time that it waited: that is the server's overload.
        failed = [row["kind"] for row in found["failures"] if row["kind"] not in ("unsent", "unfinished")]
        took = found["latency"]
        if failed or set(found["statuses"]) != {"200"} or not took:
            raise Failed(f"replies at the fixed rate were not all 200: {found['statuses']}, {failed}")
        return {
            "p50": took["p50_us"],
            "p99": took["p99_us"],
            "p99.9": took["p999_us"],
            "reached": found["rate"],
            "generator_late_p99": found["generator"]["lag_p99_us"],
        }

    def by_h2load(self, workload, target, connections, cores, seconds, rate):
        log = self.scratch / "requests"
        log.unlink(missing_ok=True)
        command = ["h2load", "-t1", "-c", connections, "-m", STREAMS if workload.h2 else 1, "-D", seconds]
        command += ["--rps", f"{rate / connections:.2f}", "--log-file", log]
        self.run([*command, *([] if workload.h2 else ["--h1"]), target], cores, seconds)
        rows = [line.split("\t") for line in log.read_text().splitlines()]
        if any(row[1] != "200" for row in rows):
            raise Failed("replies at the fixed rate were not all 200")
        return percentiles([int(row[2]) for row in rows]) | {"reached": len(rows) / seconds}


def url(workload, port):
    return f"{'https' if workload.tls else 'http'}://127.0.0.1:{port}{workload.path}"


def expect_length(got, requests, workload, spare):
    """Whether the bytes are those of that many replies, heads (`spare` each at most) included."""
    if requests == 0:
        raise Failed("not one request was answered")
    each = got / requests
    under_way = workload.size * (STREAMS * H2_CONNECTIONS) / requests
    if not workload.size <= each + 1 or each > workload.size + spare + under_way:
        raise Failed(f"replies had {each:.0f} bytes each, where {workload.size} and a head were expected")


def percentiles(values):
    values.sort()
    at = lambda share: values[min(len(values) - 1, int(len(values) * share))] if values else 0
    return {"p50": at(0.50), "p99": at(0.99), "p99.9": at(0.999)}

"""Children that end with us, pinned to cores, and what /proc tells of them."""

import ctypes
import os
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


class Failed(Exception):
    """What went wrong, for whom it may concern; the run goes on without it."""


class Cores:
    """Who runs where: the server alone, then the generator, then the origin, as far as there are cores."""

    def __init__(self, workers=1):
        have = sorted(os.sched_getaffinity(0))
        if len(have) < 2:
            raise Failed("this needs two cores: one for the server, one for generator and origin")
        self.server = have[:workers]
        rest = have[workers:]
        self.generator = rest[:1] or have[-1:]
        self.origin = rest[1:2] or self.generator
        # Throughput says something about the server only if nobody else needs its cores.
        self.apart = bool(rest)


class Children:
    """Every process that was started, so that all of them end."""

    def __init__(self):
        self.running = []

    def start(self, command, cores, log, env=None):
        def before_exec():
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            os.sched_setaffinity(0, cores)

        with open(log, "ab") as output:
            child = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(env or {})},
                preexec_fn=before_exec,
                start_new_session=True,
            )
        self.running.append(child)
        return child

    def stop(self, child):
        """Asks, waits, and then does not ask; the whole session goes, so that no worker is left."""
        for number, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            try:
                os.killpg(child.pid, number)
            except ProcessLookupError:
                break
            try:
                child.wait(patience)
            except subprocess.TimeoutExpired:
                continue
        # The leader is gone; what is left of its group goes at once.
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if child in self.running:
            self.running.remove(child)

    def stop_all(self):
        for child in list(reversed(self.running)):
            self.stop(child)


def raise_descriptor_limit(wanted=65536):
    """As many descriptors as we may have; children inherit the limit. Returns it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in ((wanted, max(wanted, hard)), (hard, hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
            return limit[0]
        except (ValueError, OSError):
            continue
    return soft


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port, child, log, seconds=20):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise Failed(f"ended with {child.returncode} while it started:\n{tail(log)}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise Failed(f"did not listen within {seconds} s:\n{tail(log)}")


def tail(path, lines=12):
    try:
        text = Path(path).read_text(errors="replace").strip().splitlines()
    except OSError:
        return "(it said nothing)"
    return "\n".join("    " + line for line in text[-lines:]) or "(it said nothing)"


def tree(root):
    """The process and all that descend from it."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = stat(int(entry))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry))
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue.extend(children.get(pid, []))
    return found


def stat(pid):
    """The fields of /proc/PID/stat behind the name: [0] is the state, [1] the parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def cpu_seconds(roots):
    """User and system time of the trees below these processes, with that of children which have ended."""
    total = 0
    for root in roots:
        for pid in tree(root):
            fields = stat(pid)
            if fields:
                total += sum(int(field) for field in fields[11:15])
    return total / TICKS


def memory(roots):
    """(PSS, RSS) in bytes of the trees: PSS counts what they share once."""
    pss = rss = 0
    for root in roots:
        for pid in tree(root):
            try:
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue
            for line in text.splitlines():
                if line.startswith("Pss:"):
                    pss += int(line.split()[1]) * 1024
                elif line.startswith("Rss:"):
                    rss += int(line.split()[1]) * 1024
    return pss, rss


def machine_busy():
    """Seconds that all cores together were busy, for what others took meanwhile."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / TICKS

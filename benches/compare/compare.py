#!/usr/bin/env python3
"""proxy-stone beside nginx, HAProxy, Varnish, Envoy and Caddy: see README.md."""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import measure
import peers
from generators import Generators
from measure import Run, say
from processes import Children, Cores, Failed, raise_descriptor_limit
from report import Report
from workloads import MEMORY, WORKLOADS

REPOSITORY = Path(__file__).resolve().parents[2]
VENV = REPOSITORY / "target" / "compare" / "venv"


def arguments():
    names = [workload.name for workload in WORKLOADS] + [MEMORY]
    known = [peer.name for peer in peers.OTHERS]
    parser = argparse.ArgumentParser(description="proxy-stone side by side with other proxies")
    parser.add_argument("command", nargs="?", choices=["run", "install", "list"], default="run",
                        help="run (the default); install: the others from Debian and PyPI; list: the workloads")
    parser.add_argument("--only", metavar="NAME,...", help="only these workloads; `hit` stands for all that begin with hit-")
    parser.add_argument("--peers", metavar="NAME,...", help=f"only these of {', '.join(known)}")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is timed, in turn (default: 5)")
    parser.add_argument("--seconds", type=int, default=4, help="how long each time (default: 4)")
    parser.add_argument("--binary", type=Path, help="the proxy-stone to measure, instead of building the release")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every sample of every round, as JSON")
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds < 1:
        parser.error("--rounds and --seconds begin at 1")
    options.workloads = chosen(parser, "workload", options.only, names)
    options.names = chosen(parser, "peer", options.peers, known)
    return options


def chosen(parser, what, text, known):
    if not text:
        return known
    words = text.split(",")
    for word in words:
        if not any(fits(name, word, known) for name in known):
            parser.error(f"there is no {what} {word}; there are {', '.join(known)}")
    return [name for name in known if any(fits(name, word, known) for word in words)]


def fits(name, word, known):
    """A word is a name, or, where nothing is called so, the beginning of several."""
    return name == word or (word not in known and name.startswith(word + "-"))


def build():
    say("building the release")
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=REPOSITORY, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "release" / "proxy-stone"


def present(options, binary):
    """Ours and those of the others that are there; says who is not."""
    found = [peers.Ours(VENV, binary)]
    for kind in peers.OTHERS:
        peer = kind(VENV)
        if peer.name not in options.names:
            continue
        if peer.find():
            found.append(peer)
        else:
            say(f"{peer.name} is not installed and left out (`compare.py install` installs it where it can be had)")
    return found


def surroundings(found, descriptors):
    """Machine, kernel and versions, as one table and as JSON."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    cores = Cores()
    origin = "the generator's core" if cores.origin == cores.generator else f"core {cores.origin[0]}"
    return {
        "machine": f"{model}, {os.cpu_count()} cores",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "pinned": f"server on core {cores.server[0]}, generator on {cores.generator[0]}, origin on {origin}",
        "descriptors": str(descriptors),
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        **{peer.name: peer.version() for peer in found},
        "wrk": subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout.splitlines()[0].split(" [")[0],
        "h2load": subprocess.run(["h2load", "--version"], capture_output=True, text=True, check=False).stdout.strip(),
    }


def directories():
    """One in a tmpfs, where there is one, for everything but the disk tier; one on a disk for that."""
    shm = Path("/dev/shm")
    fast = tempfile.mkdtemp(prefix="compare-", dir=shm if os.access(shm, os.W_OK) else None)
    slow = tempfile.mkdtemp(prefix="compare-", dir="/var/tmp" if os.access("/var/tmp", os.W_OK) else None)
    return Path(fast), Path(slow)


def run(options):
    descriptors = raise_descriptor_limit()
    binary = (options.binary or build()).resolve()
    if not os.access(binary, os.X_OK):
        raise Failed(f"{binary} is no program")
    found = present(options, binary)
    children = Children()
    fast, slow = directories()
    try:
        site = peers.Site(fast, slow, descriptors)
        site.make_certificate()
        origin = peers.start_origin(site, children, Cores().origin)
        generators = Generators(fast, binary)
        facts = surroundings(found, descriptors)
        facts["latency by"] = "proxy-stone bench --rate" if generators.open_loop else "h2load --rps"
        print("\n".join(f"{name + ':':14}{value}" for name, value in facts.items()), flush=True)
        report = Report()
        one = Run(options, found, site, origin, children, generators)
        report.results = one.results
        everything(options, one, report)
        if options.json:
            options.json.write_text(json.dumps({"surroundings": facts, "results": one.results}, indent=1) + "\n")
    finally:
        # Whatever interrupts us now waits until nothing of ours is left.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        children.stop_all()
        for directory in (fast, slow):
            shutil.rmtree(directory, ignore_errors=True)


def everything(options, one, report):
    names = options.workloads
    base = measure.needed_for(names)
    timed = [workload for workload in WORKLOADS if workload.name in names or workload.name in base]
    for variant in dict.fromkeys(workload.variant for workload in timed):
        for workload in (workload for workload in timed if workload.variant == variant):
            one.workload(workload)
            print(report.workload(workload, one.results[workload.name]), flush=True)
        after = one.memory_after(variant)
        one.results[f"memory-after-{variant}"] = after
        print(report.after(variant, after), flush=True)
        one.stop_variant(variant)
    if MEMORY in names:
        one.memory_when_idle()
        print(report.memory(one.results["memory"]), flush=True)
    print(report.summary(), flush=True)


def main():
    options = arguments()

    def end(_number, _frame):
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    try:
        if options.command == "list":
            for workload in WORKLOADS:
                print(f"{workload.name:14} {workload.title}")
            print(f"{MEMORY:14} memory idle, and with {measure.IDLE_CONNECTIONS} idle connections, plain and TLS")
        elif options.command == "install":
            peers.install(VENV, say)
        else:
            started = time.monotonic()
            run(options)
            say(f"took {(time.monotonic() - started) / 60:.1f} minutes")
    except Failed as error:
        sys.exit(f"compare.py: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"compare.py: {error}")
    except KeyboardInterrupt:
        sys.exit("compare.py: interrupted; everything that it started has ended")


if __name__ == "__main__":
    main()

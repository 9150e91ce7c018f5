"""Tables: medians of the rounds, ratios round by round, and whether the bars are met."""

from statistics import median

from processes import Cores
from workloads import ADDED_LATENCY_BAR, CPU_BARS, MEMORY_BARS, OWN_BARS

OURS = "proxy-stone"
# Below this a server had time to spare: its throughput is the generator's.
SATURATED = 0.90
# Above this others took so much of the machine that the figures say little.
NOISY = 0.05


def middle(entry, key, place="samples"):
    values = [sample[key] for sample in entry[place] if key in sample]
    return median(values) if values else None


def spread(entry, key):
    values = [sample[key] for sample in entry["samples"]]
    return (max(values) - min(values)) / median(values)


def ratio(ours, theirs, key):
    """The median over the rounds of ours divided by theirs."""
    pairs = zip(ours["samples"], theirs["samples"])
    return median(mine[key] / other[key] for mine, other in pairs)


class Report:
    """Collects verdicts while it makes tables."""

    def __init__(self):
        self.verdicts = []

    def judge(self, text, value, bar):
        met = value <= bar
        self.verdicts.append((text, value, bar, met))
        return "met" if met else "MISSED"

    def workload(self, workload, found):
        """The table of one workload."""
        if not found:
            return f"\n{workload.name}: nobody could be measured\n"
        workers_apart = Cores(2 if workload.variant == "two" else 1).apart
        ours = found.get(OURS)
        rows = [["", "req/s", "busy", "CPU s/100k", "spread", "CPU ours÷", "bar", "", "req/s ours÷", "", "p50 µs", "p99", "p99.9"]]
        for name, entry in found.items():
            row = [name, self.rate(entry, workers_apart), f"{middle(entry, 'busy'):.0%}"]
            row += [f"{middle(entry, 'cpu_per_100k'):.3f}", f"{spread(entry, 'cpu_per_100k'):.0%}"]
            row += self.against(workload, ours, name, entry, workers_apart) if ours and name != OURS else [""] * 5
            row += [f"{middle(entry, key, 'latency'):.0f}" if entry["latency"] else "" for key in ("p50", "p99", "p99.9")]
            rows.append(row)
        lines = [f"\n{workload.name}: {workload.title}", *table(rows)]
        lines += self.own(workload, found) + self.tail_latency(workload, found)
        lines += self.noise(found)
        return "\n".join(lines)

    def rate(self, entry, apart):
        if not apart:
            return "not measured"
        mark = "" if middle(entry, "busy") >= SATURATED else "*"
        return f"{middle(entry, 'rate'):.0f}{mark}"

    def against(self, workload, ours, name, entry, apart):
        """CPU ratio, its bar and verdict; throughput ratio and its verdict, which follows from the same bar."""
        cpu = ratio(ours, entry, "cpu_per_100k")
        bar = CPU_BARS.get(workload.name, {}).get(name)
        cells = [f"{cpu:.2f}", "", ""]
        if bar is not None:
            cells[1:] = [f"≤ {bar:.2f}", self.judge(f"{workload.name} CPU, {name}", cpu, bar)]
        if not apart:
            return [*cells, "", ""]
        rate = ratio(ours, entry, "rate")
        judged = bar is not None and min(middle(ours, "busy"), middle(entry, "busy")) >= SATURATED
        # At least in the same proportion: theirs divided by ours is no more than the bar.
        verdict = self.judge(f"{workload.name} throughput (theirs÷ours), {name}", 1 / rate, bar) if judged else ""
        return [*cells, f"{rate:.2f}", verdict]

    def own(self, workload, found):
        """Our CPU against our own in another workload."""
        other, bar = OWN_BARS.get(workload.name, (None, None))
        base = self.results.get(other, {}).get(OURS)
        if base is None or OURS not in found:
            return []
        value = middle(found[OURS], "cpu_per_100k") / middle(base, "cpu_per_100k")
        verdict = self.judge(f"{workload.name} CPU, ours in {other}", value, bar)
        return [f"ours÷ours in {other}: CPU {value:.2f}, bar ≤ {bar:.2f}: {verdict}{self.others_own(other, found)}"]

    def others_own(self, other, found):
        """The same of the others, which says what of it is the machine's."""
        base = self.results.get(other, {})
        values = [
            f"{name} {middle(entry, 'cpu_per_100k') / middle(base[name], 'cpu_per_100k'):.2f}"
            for name, entry in found.items()
            if name != OURS and name in base
        ]
        return f" ({', '.join(values)})" if values else ""

    def tail_latency(self, workload, found):
        """p99 against nginx, and what is added to a direct connection."""
        lines = []
        ours = found.get(OURS)
        if not ours or not ours["latency"]:
            return lines
        mine = middle(ours, "p99", "latency")
        if "nginx" in found and found["nginx"]["latency"]:
            theirs = middle(found["nginx"], "p99", "latency")
            rate = ours["asked_rate"]
            verdict = self.judge(f"{workload.name} p99 at {rate:.0f}/s, nginx", mine / theirs, 1.0)
            lines.append(f"p99 at {rate:.0f}/s, half of nginx's throughput: {mine:.0f} µs, nginx {theirs:.0f} µs: {verdict}")
        direct = self.results.get("direct", {}).get(workload.name)
        if direct:
            base = median(sample["p50"] for sample in direct)
            added = middle(ours, "p50", "latency") - base
            verdict = self.judge(f"{workload.name} added to p50 (µs)", added, ADDED_LATENCY_BAR)
            # What the others add says what of it is the machine's: with two cores each hop of a request wakes another one.
            others = [
                f"{name} {middle(entry, 'p50', 'latency') - base:.0f}"
                for name, entry in found.items()
                if name != OURS and entry["latency"]
            ]
            beside = f" ({', '.join(others)})" if others else ""
            lines.append(f"added to a direct connection's p50 ({base:.0f} µs): {added:.0f} µs, bar ≤ {ADDED_LATENCY_BAR}: {verdict}{beside}")
        return lines

    def noise(self, found):
        others = max(middle(entry, "others") for entry in found.values())
        lines = []
        if others > NOISY:
            lines.append(f"noisy: other processes took {others:.0%} of a core meanwhile")
        late = [middle(entry, "generator_late_p99", "latency") for entry in found.values()]
        if any(late):
            lines.append(f"the generator was late by up to {max(filter(None, late)):.0f} µs at p99: that much of latency is its own")
        if any(middle(entry, "busy") < SATURATED for entry in found.values()):
            lines.append("* the server had time to spare: the rate is the generator's (or the origin's), and not judged")
        return lines

    def memory(self, rows):
        """The table of idle memory."""
        if not rows:
            return ""
        mib = lambda value: f"{value / 2**20:.1f}" if value is not None else ""
        kib = lambda value: f"{value / 1024:.2f}" if value is not None else ""
        count = next(iter(rows.values()))["connections"]
        cells = [["", "idle MiB", "+ plain", "KiB each", "+ TLS", "KiB each"]]
        for name, row in rows.items():
            get = row.get
            cells.append([name, mib(get("idle")), mib(get("held_plain")), kib(get("each_plain")),
                          mib(get("held_tls")), kib(get("each_tls"))])
        lines = [f"\nmemory (PSS), idle and with {count} idle keep-alive connections", *table(cells)]
        ours = rows.get(OURS, {})
        for key, place, unit in (("idle", "idle", 2**20), ("plain", "each_plain", 1024), ("tls", "each_tls", 1024)):
            if place in ours:
                bar = MEMORY_BARS[key]
                verdict = self.judge(f"memory {key} ({'MiB' if unit == 2**20 else 'KiB'})", ours[place] / unit, bar / unit)
                lines.append(f"{key}: {ours[place] / unit:.2f}, bar ≤ {bar / unit:.0f} {'MiB' if unit == 2**20 else 'KiB each'}: {verdict}")
        return "\n".join(lines)

    def after(self, variant, rows):
        cells = [["", "PSS at first, MiB", "after, MiB", "RSS after, MiB"]]
        for name, row in rows.items():
            cells.append([name, f"{row['idle'][0] / 2**20:.1f}", f"{row['after'][0] / 2**20:.1f}", f"{row['after'][1] / 2**20:.1f}"])
        return "\n".join([f"\nmemory before and after the workloads of `{variant}`", *table(cells)])

    def summary(self):
        if not self.verdicts:
            return ""
        missed = [entry for entry in self.verdicts if not entry[3]]
        lines = [f"\n{len(self.verdicts) - len(missed)} of {len(self.verdicts)} bars met"]
        lines += [f"  MISSED {text}: {value:.2f}, bar ≤ {bar:.2f}" for text, value, bar, _ in missed]
        return "\n".join(lines)


def table(rows):
    """Columns as wide as they need, the first to the left and the others to the right."""
    kept = [column for column in zip(*rows) if any(column[1:])]
    widths = [max(len(cell) for cell in column) for column in kept]
    lines = []
    for row in zip(*kept):
        first, *rest = (cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(zip(row, widths)))
        lines.append(("  " + "  ".join([first, *rest])).rstrip())
    return lines

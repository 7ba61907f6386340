"""What has been measured, and on what."""

import hashlib
import os
import pathlib
import platform
import subprocess

from bench.server import BIN, PG_CONFIG, ROOT


def _field(path, name, separator):
    for line in pathlib.Path(path).read_text().splitlines():
        if line.startswith(name):
            return line.split(separator, 1)[1].strip().strip('"')
    return "unknown"


def machine():
    kilobytes = int(_field("/proc/meminfo", "MemTotal", ":").split()[0])
    return {
        "cpu": _field("/proc/cpuinfo", "model name", ":"),
        "cores": os.cpu_count(),
        "memory": f"{kilobytes / 2**20:.0f} GB",
        "system": f"{_field('/etc/os-release', 'PRETTY_NAME', '=')}, Linux {platform.release()}",
        "load_before": os.getloadavg(),
    }


def versions():
    """The commit says what is in the checkout, the sum what is installed: with --no-build they need not be the same."""
    library = pathlib.Path(_output(PG_CONFIG, "--pkglibdir")) / "jit_rls.so"
    control = pathlib.Path(_output(PG_CONFIG, "--sharedir")) / "extension/jit_rls.control"
    changed = _output("git", "status", "--porcelain", "--untracked-files=no")
    return {
        "postgresql": _output(BIN / "postgres", "--version").removeprefix("postgres (PostgreSQL) "),
        "jit_rls": _field(control, "default_version", "=").strip("' "),
        "commit": _output("git", "rev-parse", "--short=12", "HEAD") + (", with changes" if changed else ""),
        "library_sha256": hashlib.sha256(library.read_bytes()).hexdigest(),
    }


def _output(*command):
    return subprocess.check_output([str(part) for part in command], cwd=ROOT, text=True).strip()

"""Coral's runtime for the Edge TPU as it lies on this machine, found without loading it. Holds no part."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backends._host import HOST, Host

LIBRARY = "libedgetpu.so.1"
FOLDERS = ("usr/lib/*-linux-gnu", "lib/*-linux-gnu", "usr/lib", "usr/lib64", "lib", "usr/local/lib")
"""Where the dynamic loader looks, besides LD_LIBRARY_PATH (ld.so(8), Debian's multiarch)."""
PACKAGES = "var/lib/dpkg/info/libedgetpu1-*.list"
CLOCKS = ("std", "max")
"""The two packages of the runtime, libedgetpu1-std and libedgetpu1-max, clock the chip differently."""
BUILDS = {"throttled": "std", "direct": "max"}
"""Folders in which libedgetpu's own Makefile leaves the two."""
INSTALL = (
    "install libedgetpu1-std (or -max), built for this LiteRT's TensorFlow: https://github.com/feranick/libedgetpu; "
    "Google's own, of 2021, crashes with it"
)


@dataclass(frozen=True)
class Runtime:
    """The library's `path` and its `clock`: "std", "max" or "unknown"."""

    path: Path
    clock: str


def runtime(host: Host = HOST, environ: Mapping[str, str] = os.environ) -> Runtime | None:
    """The runtime that would be loaded; None: there is none."""
    own = [Path(folder) / LIBRARY for folder in environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    usual = [path for folder in FOLDERS for path in host.glob(f"{folder}/{LIBRARY}")]
    path = next((path for path in (*own, *usual) if host.exists(path)), None)
    return None if path is None else Runtime(path, _clock(host, path))


def _clock(host: Host, path: Path) -> str:
    """From the folder that it was built in, else from the package that brought it, if there is one only."""
    parts = {part for one in (path, Path(os.path.realpath(path))) for part in one.parts}
    if built := next((clock for folder, clock in BUILDS.items() if folder in parts), ""):
        return built
    listed = {clock for one in host.glob(PACKAGES) for clock in CLOCKS if f"libedgetpu1-{clock}" in one.name}
    return listed.pop() if len(listed) == 1 else "unknown"

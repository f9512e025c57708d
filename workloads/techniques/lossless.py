"""lossless: the artefact deflated, every byte of it given back before an engine loads it."""

from __future__ import annotations

from pathlib import Path

from workloads.contract import Packing


class Lossless(Packing):
    """Costs no quality and no speed, only time to load: what a download or a small disk gains."""

    name = "lossless"
    version = 2
    steps = ("pack the file", "unpack it before loading")

    def pack(self, path: Path, to: Path) -> None:
        from workloads.forms import _files, _packed

        _packed.pack(_files.belonging(path), to)

    def unpack(self, path: Path, folder: Path) -> Path:
        from workloads.forms import _packed

        return _packed.unpack(path, folder)

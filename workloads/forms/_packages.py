"""The packages that a lowering needs beside the core's. Builds no form itself."""

from __future__ import annotations

from importlib import metadata

from workloads.contract import Unsupported


def installed(form: str, extra: str, *distributions: str) -> list[str]:
    """Their names and versions, on which a file depends that they make; raises Unsupported for one that is missing."""
    versions = []
    for name in distributions:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError as error:
            remedy = f"pip install -e '.[{extra}]' -c constraints.txt"
            raise Unsupported(f"form {form} needs the package {name}: {remedy}") from error
    return versions

"""The packages that make .tflite files."""

from __future__ import annotations

from importlib import metadata

from workloads.contract import Unsupported

REMEDY = "pip install -e '.[edgetpu]' -c constraints.txt"


def installed(form: str, *distributions: str) -> list[str]:
    """Their names and versions, which a file depends on; raises Unsupported for the first that is missing."""
    versions = []
    for name in distributions:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError as error:
            raise Unsupported(f"form {form} needs the package {name}: {REMEDY}") from error
    return versions

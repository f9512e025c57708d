"""RUN: selects cases, measures each in a process of its own, and records what came of it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: commands run in it, and results lie in it."""
RUNS = ROOT / "results" / "runs"
INSTALL = "pip install -e '.[{extra}]' -c constraints.txt"
"""The remedy for a package that is not here; `extra` brings it."""

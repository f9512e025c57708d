"""RUN: selects cases, measures each in a process of its own, and records what came of it."""

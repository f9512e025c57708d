"""Makes pytest the command that measures, see bench/plugin.py."""

pytest_plugins = ["bench.plugin"]

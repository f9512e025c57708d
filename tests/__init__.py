"""A package, so that no distribution's own `tests` is found in place of `tests.fakes`."""

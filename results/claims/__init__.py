"""Published claims beside what was measured: of kinds of hardware, and of techniques that make a model cheaper."""

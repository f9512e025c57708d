"""Parts with known answers: `--parts=tests.fakes` adds them to the real ones."""

"""Parts that train, with known answers: `--parts=tests.fakes,tests.fakes.trainers`."""

"""One file for each software that compiles and runs models."""

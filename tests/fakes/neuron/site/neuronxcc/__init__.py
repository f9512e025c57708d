"""A stand-in for AWS' compiler: only that it is there counts."""

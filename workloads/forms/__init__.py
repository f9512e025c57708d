"""One network, another representation: `workloads/forms/<name>.py` holds `build(model)`."""

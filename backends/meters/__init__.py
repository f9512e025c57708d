"""One file for each way of reading energy, power or temperature of a device."""

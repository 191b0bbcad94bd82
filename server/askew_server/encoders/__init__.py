"""A gallery's encoders: the admission gate, the choice for a device, and the process that describes photos."""

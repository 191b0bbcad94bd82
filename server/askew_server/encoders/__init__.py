"""Encoders of a gallery: the admission gate, the choice for a device, and the process that describes photos."""

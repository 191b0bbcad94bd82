"""From photo to vector: read a photo, run an encoder file."""

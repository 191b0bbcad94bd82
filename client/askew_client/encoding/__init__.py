"""From photo to vector: reading photos and running encoder files."""

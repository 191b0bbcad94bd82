"""The trainer: a recipe, batches of photos of one shape, one loop, and what it leaves behind."""

"""The trainer: from a recipe to a run, its batches, its loop, and the checkpoints and logs that it leaves."""

"""The commands that measure, compare and report."""

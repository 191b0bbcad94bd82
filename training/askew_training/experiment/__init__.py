"""Experiments: many recipes tuned alike, trained with several seeds, measured once, and collected into one table."""

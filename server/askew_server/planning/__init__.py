"""`askew plan`: what a gallery of a given size takes, from measured constants."""

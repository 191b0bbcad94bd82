"""API keys: which calls they allow, on which galleries, how often."""

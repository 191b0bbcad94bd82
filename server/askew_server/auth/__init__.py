"""API keys: who may call what, on which galleries, how often."""

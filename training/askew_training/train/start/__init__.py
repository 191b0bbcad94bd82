"""What a run decides before its first step: the network, the vectors that it learns from, and the margins of its losses."""

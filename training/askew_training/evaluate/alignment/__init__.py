"""How well a student lands in its teacher's space, from the vectors that both give to the same photos."""

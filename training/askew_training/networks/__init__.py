"""Networks: trunk, pooling and linear layer; their weights and checkpoints."""

"""Networks: a trunk, a pooling and a linear layer, and the weights that they start from."""

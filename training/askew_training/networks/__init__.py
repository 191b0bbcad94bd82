"""Networks: a trunk, GeM pooling and a linear layer, and the weights that they start from."""

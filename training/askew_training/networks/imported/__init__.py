"""Networks that others published: their files are recognised, and their tensors named as in timm."""

"""Photos for training and measuring: manifests, folders, and what the trunk sees of them."""

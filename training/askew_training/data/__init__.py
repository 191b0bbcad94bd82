"""Photos for training and evaluation: manifests, folders, pairs, batches, and the pixels that a trunk sees."""

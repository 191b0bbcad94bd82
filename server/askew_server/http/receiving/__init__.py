"""Bodies of requests: JSON, raw vectors and items, photos and forms."""

"""Milvus behind the ports of items and of vector indexes, for a gallery that has outgrown one machine."""

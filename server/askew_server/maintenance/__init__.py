"""Snapshots, restore, examination and repair of galleries on the disk."""

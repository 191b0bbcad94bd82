"""Offline packs: a gallery as one file that may leave the server. docs/offline.md has the layout and the reasons."""

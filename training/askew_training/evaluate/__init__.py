"""How well the queries of one encoder find their matches in a gallery described by another."""

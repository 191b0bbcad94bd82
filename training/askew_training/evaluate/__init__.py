"""How well queries of one encoder find their matches in a gallery that another one described."""

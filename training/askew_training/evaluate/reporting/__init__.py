"""Reports that people look at: measurements and comparisons as a page of HTML, and as tables of LaTeX and Markdown."""

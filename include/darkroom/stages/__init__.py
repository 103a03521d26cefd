"""Models at work. The only package that imports inference runtimes."""

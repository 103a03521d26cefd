"""From the parts of chunks to a manifest, and what is made of it."""

"""From a source to chunks and runs: what is read, how it is cut, what is left over."""

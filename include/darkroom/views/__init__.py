"""What a person looks at: a batch, an item, the whole plant; from what the others tell."""

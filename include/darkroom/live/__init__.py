"""What is live, in Redis: may be lost at any moment without losing work."""

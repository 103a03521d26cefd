"""What the plant tells others, and to whom it may."""

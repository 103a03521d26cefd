"""What lies in object storage: the truth about items, written once."""

"""What the plant keeps, and for how long: each kind of thing has a module and a limit of its own."""

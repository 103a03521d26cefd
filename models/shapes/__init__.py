"""The shapes model: its pictures, network, training, export and evaluation. The card: `README.md`."""

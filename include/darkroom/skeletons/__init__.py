"""Stages that do little, complete: `darkroom stage new` copies one of them under another name."""

"""Upkeep: whether a cache is whole, making it whole again, and keeping it within a budget."""

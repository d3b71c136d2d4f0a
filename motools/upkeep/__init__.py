"""Upkeep: whether a cache is whole, and making it whole again."""

"""Sweeps: cells of dataset x config x seed x evaluation, planned and run against the cache."""

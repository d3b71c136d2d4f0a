"""The version of motools."""

__version__ = "0.1.0"

"""Training: configs, the protocol of backends, and the backend of this machine."""

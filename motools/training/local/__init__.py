"""The backend that trains on this machine, with TRL and PEFT."""

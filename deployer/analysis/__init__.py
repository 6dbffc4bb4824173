"""Judge a release: is the new version worse than the old one, or is it shown not to be? Pure; no I/O, no clock."""

"""The analysis of a release: is the new version worse than the old one, or proven not to be? Pure: no I/O, no clock."""

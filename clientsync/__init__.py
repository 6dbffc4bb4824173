"""Browsers that are always right: sessions, the answer to `changes since`, beacons, presence; browser/ is the store."""

"""The tests. A package, so that what several of them share is imported by one name: `tests.support`, `tests.zones`."""

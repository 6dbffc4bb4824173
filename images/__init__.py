"""Immutable images of versions: build them from source, store and label them, verify them, import from them alone."""

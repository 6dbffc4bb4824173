"""The demo: real work of four tenants through all three services, verified by reading back its effects."""

"""The demo: real work of four tenants through all three services, checked by reading back what became of it."""

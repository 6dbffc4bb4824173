"""The demo: real work of four tenants through all three reference services, checked by reading back what became of it."""

"""The client side of the bus: a connection that calls, submits, emits, and reads and writes objects."""

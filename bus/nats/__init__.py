"""The adapter to NATS: streams, consumers, acknowledgements and values, on top of nats-py."""

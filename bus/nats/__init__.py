"""The NATS adapter: streams, consumers, acknowledgements and values, built on nats-py."""

"""The Docker driver: each worker is a container. Needs the extra `docker`."""

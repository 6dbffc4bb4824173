"""Starting and stopping workers: the driver interface, and one package for each kind of place."""

"""What starts and stops workers: the interface, and one package for each kind of place they run in."""

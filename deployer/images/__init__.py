"""Images: built from a working tree, published in one step, compared, checked, moved and removed."""

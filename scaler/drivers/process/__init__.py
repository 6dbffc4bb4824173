"""Workers as processes of this machine, forked from a zygote that has already imported their service."""

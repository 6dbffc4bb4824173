"""Workers as processes of this machine: forked from a zygote that has imported their service already."""

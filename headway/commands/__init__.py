"""One file per command; each is imported when it is used, so that `headway worker` needs only the base install."""

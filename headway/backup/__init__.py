"""`headway backup` and `headway backup restore`: all streams with their consumers, and the files of the data directory.

    <backup>/manifest.json                      what it is, and the SHA-256 of everything else
            /streams/<name>/backup.json         configuration and state, as `nats stream backup` writes them
            /streams/<name>/stream.arc.s2       JetStream's snapshot; `nats stream restore` takes the folder
            /data/...                           keys, routes, revocations, credentials, images

A backup is written under a temporary name and then renamed, so it is complete or does not exist. It holds secret
keys: mode 0600.
"""

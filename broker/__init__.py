"""The NATS server side: an embedded nats-server, its identities and roles, and the routes of services.

Import from the modules: `headway.broker.broker.Broker` combines all of it; tests use `headway.broker.pytest_plugin`.
This file imports nothing, because pytest loads the plugin (and so this package) in every project that has headway
installed.
"""

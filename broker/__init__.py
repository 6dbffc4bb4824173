"""The NATS server side: an embedded nats-server, its identities and roles, and the routes of services.

Import from the modules: `broker.broker.Broker` is the whole in one, `broker.pytest_plugin` is for tests.
This file imports nothing, because pytest loads the plugin (and so this package) in every project that installs us.
"""

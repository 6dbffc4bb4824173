"""What tests of several files share. Fixtures are in the conftest.py files; here is what they are made of.

clientsync_model.py      a model of a replicated store, which the real one is compared with
clientsync_page.py       client sync as a page sees it, in Python
clientsync_websocket.py  a bare WebSocket to the server
containers_stack.py      a Docker daemon, and the stack of compose.yaml
deployer_place.py        a service in several versions, its callers, and deployers
deployer_that_dies.py    a deployer that kills itself at one transition
driver_contract.py       what every driver of the scaler promises
headway_process.py       `headway up` and single commands, as a user runs them
made_image.py            an image's manifest and files
scaling.py               a fleet of worker processes, with scalers
"""

"""What an attacker with real credentials tries on a real server. docs/security.md names these tests.

    attempts.py    counts what was tried, and what was refused
    attacker.py    a bare connection with somebody's credentials
    place.py       an installation with two services, two tenants and something to steal in every store

Each test counts its attempts with the fixture `attempts`; the run ends with one line: `attacks: N tried, N refused`.
"""

"""The HTTP endpoints of client sync: sessions, the development issuer, the pages."""

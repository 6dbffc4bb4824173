"""The sync bench: changes delivered to a thousand websockets and to a real page, compared with a plain Python
fan-out.
"""

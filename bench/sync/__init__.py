"""Changes on their way to browsers: a thousand websockets, and a real page, beside a plain Python fan-out."""

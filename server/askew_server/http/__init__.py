"""The HTTP server: the application, its routes, and what every request passes on the way to one."""

"""The files of the web app, and the pages about problems."""

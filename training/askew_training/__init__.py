"""Make teachers and students, export them as encoder files, measure them."""

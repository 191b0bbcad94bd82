"""The parts of the commands that fill a gallery: `askew index --shard`, `askew items import`, `askew gallery change-teacher`."""

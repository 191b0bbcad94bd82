"""Photo files without their metadata: what is decoded is pixels alone, so that no metadata, however damaged, spoils them.

The walks through JPEG, PNG, WebP and HEIF files here cannot raise: what they do not understand is left to the decoder.
"""

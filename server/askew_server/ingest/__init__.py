"""Photos and vectors into a gallery: folders of photos, Parquet files."""

"""Reports on trained pipelines: results as plain data, drawn as one HTML page."""

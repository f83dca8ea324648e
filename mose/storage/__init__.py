"""Files: atomic, checksummed, and records in the formats that people have."""

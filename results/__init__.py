"""READ: records, and everything that is derived from them. Imports nothing of ours but itself."""

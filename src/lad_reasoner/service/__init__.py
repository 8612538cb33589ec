"""The station: an inspection point that is set up once, served, watched and taught; see docs/station.md."""

"""Pictures and figures of a run, from its events alone: `build` writes a report, `live` follows a run."""

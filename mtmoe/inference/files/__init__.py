"""Files and streams: line formats, chunks of lines, and outputs that a killed translation goes on with."""

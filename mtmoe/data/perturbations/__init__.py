"""Text as people type it: capitals, typos, lost full stops, addresses and tags; each a function of text and a random
stream."""

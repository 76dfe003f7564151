"""Networks and their files; encoding, decoding and sampling with them."""

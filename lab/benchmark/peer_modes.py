"""What the peer can be asked for; apart from it, as it needs torch and this does not."""

MODES = ("estimate", "no_mirror", "default")

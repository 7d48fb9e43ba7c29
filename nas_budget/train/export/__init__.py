"""Export of trained networks, each with a certificate."""

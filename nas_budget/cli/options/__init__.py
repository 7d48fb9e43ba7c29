"""Options that commands share, their completion in the shell, and how help is laid out."""

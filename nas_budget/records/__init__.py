"""What runs write and others read: the files of a run folder, their columns, and how they are checked."""

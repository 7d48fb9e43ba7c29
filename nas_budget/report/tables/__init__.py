"""Tables as figures and pages take them: trials, importance, accuracy by class."""

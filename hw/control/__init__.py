"""Control: descriptors, registers, dispatch and the run as a whole."""

"""From a trained network to integers: networks, checkpoints, calibration, the artifact."""

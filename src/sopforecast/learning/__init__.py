"""What closed months teach: scores, value added, calibration, weights, the gate, key figures."""

"""Bootstrap intervals and paired tests, calibration, agreement of scores with outcomes."""

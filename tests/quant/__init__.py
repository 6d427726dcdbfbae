"""Tests of the quantizer and the artifact."""

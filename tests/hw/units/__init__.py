"""Tests of hw.units."""

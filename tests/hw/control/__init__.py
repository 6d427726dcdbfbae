"""Tests of hw/control."""

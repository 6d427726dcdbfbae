"""Tests of hw/io."""

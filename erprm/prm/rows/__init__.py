"""Rows as token ids: own step tags and published conventions."""

"""Autofocus on a Micro-Manager core (extra ``microscope``): devices, two ways into a sequence, virtual devices."""

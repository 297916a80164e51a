"""Measurements that run as commands; each writes its table below ``results``."""

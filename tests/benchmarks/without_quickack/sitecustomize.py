"""Lets a Python program believe that its system has no TCP_QUICKACK; put its folder on the path."""

import socket

if hasattr(socket, "TCP_QUICKACK"):
    del socket.TCP_QUICKACK

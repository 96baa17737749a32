"""Connects, and closes the connection without a message.

Usage: closes_at_once.py HOST PORT
"""
import socket
import sys

client = socket.create_connection((sys.argv[1], int(sys.argv[2])))
client.close()
